package config

import (
	"fmt"
	"strings"
)

// lines tells where each key of a TOML text stands. The text is known to be sound
// TOML; what the scanner does not follow (keys within inline tables) is found under
// the line of what encloses it. Tables of an array are counted from 1:
// "peer[1].name", elements of a list likewise.
type lines map[string]int

// at returns the line of path or of the nearest thing around it.
func (l lines) at(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

type lineScanner struct {
	text  string
	pos   int
	line  int
	table string         // path of the present table
	count map[string]int // of the tables of each array
	out   lines
}

func scanLines(text string) lines {
	s := &lineScanner{text: text, line: 1, count: map[string]int{}, out: lines{}}
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.next()
		case '#':
			s.comment()
		case '[':
			s.header()
		default:
			s.pair()
		}
	}
	return s.out
}

func (s *lineScanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *lineScanner) next() {
	if s.text[s.pos] == '\n' {
		s.line++
	}
	s.pos++
}

func (s *lineScanner) comment() {
	for s.pos < len(s.text) && s.text[s.pos] != '\n' {
		s.pos++
	}
}

// header reads "[a.b]" or "[[a.b]]".
func (s *lineScanner) header() {
	array := strings.HasPrefix(s.text[s.pos:], "[[")
	for s.peek() == '[' {
		s.pos++
	}
	parts := s.key(']')
	for s.peek() == ']' {
		s.pos++
	}
	path := ""
	for i, p := range parts {
		path = join(path, p)
		if last := i == len(parts)-1; array && last {
			s.count[path]++
			if s.count[path] == 1 {
				s.out.add(path, s.line)
			}
		}
		if n := s.count[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n)
		}
	}
	s.table = path
	s.out.add(path, s.line)
}

// pair reads "key = value" and notes its line.
func (s *lineScanner) pair() {
	line := s.line
	path := s.table
	for _, p := range s.key('=') {
		path = join(path, p)
		s.out.add(path, line)
	}
	if s.peek() == '=' {
		s.pos++
	}
	s.value(path)
}

// key reads a dotted key up to the octet end, which it leaves.
func (s *lineScanner) key(end byte) []string {
	var parts []string
	var word strings.Builder
	for s.pos < len(s.text) && s.peek() != end && s.peek() != '\n' {
		switch c := s.peek(); c {
		case ' ', '\t', '\r':
			s.pos++
		case '.':
			parts = append(parts, word.String())
			word.Reset()
			s.pos++
		case '"', '\'':
			from := s.pos + 1
			s.str(c)
			word.WriteString(s.text[from:max(from, s.pos-1)])
		default:
			word.WriteByte(c)
			s.pos++
		}
	}
	return append(parts, word.String())
}

// value passes over a value, noting where the elements of a list begin.
func (s *lineScanner) value(path string) {
	depth, element, fresh := 0, 1, false
	for s.pos < len(s.text) {
		c := s.peek()
		blank := c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#' || c == ',' || c == ']' || c == '}'
		if fresh && !blank {
			s.out.add(fmt.Sprintf("%s[%d]", path, element), s.line)
			fresh = false
		}
		switch c {
		case '"', '\'':
			s.str(c)
		case '#':
			s.comment()
		case '[', '{':
			depth++
			fresh = depth == 1 && c == '['
			s.pos++
		case ']', '}':
			depth--
			s.pos++
		case ',':
			if depth == 1 {
				element++
				fresh = true
			}
			s.pos++
		case '\n':
			if depth <= 0 {
				return
			}
			s.next()
		default:
			s.pos++
		}
	}
}

// str passes over a string of any of the four kinds.
func (s *lineScanner) str(quote byte) {
	triple := strings.Repeat(string(quote), 3)
	if strings.HasPrefix(s.text[s.pos:], triple) {
		s.pos += 3
		for s.pos < len(s.text) && !strings.HasPrefix(s.text[s.pos:], triple) {
			if s.peek() == '\\' && quote == '"' && s.pos+1 < len(s.text) {
				s.next()
			}
			s.next()
		}
		for n := 0; n < 5 && s.peek() == quote; n++ { // up to two quotes may stand before the three
			s.pos++
		}
		return
	}
	s.pos++
	for s.pos < len(s.text) && s.peek() != quote && s.peek() != '\n' {
		if s.peek() == '\\' && quote == '"' && s.pos+1 < len(s.text) {
			s.pos++
		}
		s.pos++
	}
	if s.peek() == quote {
		s.pos++
	}
}

func (l lines) add(path string, line int) {
	if _, there := l[path]; !there {
		l[path] = line
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
