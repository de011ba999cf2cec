package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// maxSyntax bounds how many mistakes of syntax are told.
const maxSyntax = 10

// loader collects what is found in one file.
type loader struct {
	file     string
	lines    lines
	mistakes Errors
	warnings []string
	broken   bool // the syntax was wrong somewhere: what is missing may stand there
	spdAuto  bool // the SPD hash thresholds follow the role
	inline   bool // a key stands in the file itself
	now      time.Time
	onFinish func(*table) // for tests, or nil
}

// fail notes a mistake at path. One is enough: what follows from it is not told.
func (ld *loader) fail(path, format string, args ...any) {
	if path != "" && slices.ContainsFunc(ld.mistakes, func(m Mistake) bool { return m.Key == path }) {
		return
	}
	ld.mistakes = append(ld.mistakes, Mistake{
		File: ld.file, Line: ld.lines.at(path), Key: path, Message: fmt.Sprintf(format, args...),
	})
}

// bad says whether a mistake was noted at path or below it.
func (ld *loader) bad(path string) bool {
	return slices.ContainsFunc(ld.mistakes, func(m Mistake) bool {
		return m.Key == path || strings.HasPrefix(m.Key, path+".") || strings.HasPrefix(m.Key, path+"[")
	})
}

// missing notes that a key is not there, at the line of its table.
func (ld *loader) missing(path, table string) {
	if ld.broken {
		return
	}
	ld.mistakes = append(ld.mistakes, Mistake{
		File: ld.file, Line: ld.lines.at(table), Key: path, Message: "missing; it has no default",
	})
}

func (ld *loader) warn(path, format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	if n := ld.lines.at(path); n > 0 {
		w = fmt.Sprintf("%s:%d: %s: %s", ld.file, n, path, w)
	}
	ld.warnings = append(ld.warnings, w)
}

// Load reads the file at path, and the key files that it names. The error is of
// type Errors where the content is wrong.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Errors{{File: path, Message: "cannot be read: " + reason(err)}}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, Errors{{File: path, Message: "cannot be read: " + reason(err)}}
	}
	if len(data) > maxFile {
		return nil, Errors{{File: path, Message: fmt.Sprintf("is bigger than %d MiB", maxFile>>20)}}
	}
	ld := &loader{file: path, now: time.Now()}
	c, err := ld.parse(data)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.Mode().Perm()&0o077 != 0 && ld.inline {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds keys and may be read by others; chmod 600 it, or keep them in files of their own", path))
	}
	return c, nil
}

// Parse reads the content of a configuration file. The name file stands in messages.
func Parse(file string, data []byte) (*Config, error) {
	ld := &loader{file: file, now: time.Now()}
	return ld.parse(data)
}

func (ld *loader) parse(data []byte) (*Config, error) {
	root := &table{ld: ld, raw: ld.syntax(string(data))}
	c := &Config{File: ld.file}
	ld.daemon(root, c)
	ld.ike(root, c)
	ld.mn(root, c)
	ld.ha(root, c)
	ld.cn(root, c)
	ld.peers(root, c)
	ld.psks(root, c)
	root.finish()
	if ld.spdAuto {
		c.Daemon.SPDHash = defaultSPDHash(c.HA != nil || c.MN == nil)
	}
	if !ld.broken {
		ld.check(c)
	}
	if len(ld.mistakes) > 0 {
		return nil, ld.mistakes.sorted()
	}
	c.Warnings = ld.warnings
	return c, nil
}

// syntax decodes the text. Where TOML's own rules are broken it notes the line, leaves
// it out and tries again, so that one slip does not hide the next.
func (ld *loader) syntax(text string) map[string]any {
	for {
		raw := map[string]any{}
		_, err := toml.Decode(text, &raw)
		if err == nil {
			ld.lines = scanLines(text)
			return raw
		}
		ld.broken = true
		var pe toml.ParseError
		if !errors.As(err, &pe) {
			ld.mistakes = append(ld.mistakes, Mistake{File: ld.file, Message: err.Error()})
			return nil
		}
		rows := strings.Split(text, "\n")
		line := brokenLine(rows, text, pe.Position)
		ld.mistakes = append(ld.mistakes, Mistake{File: ld.file, Line: line, Key: pe.LastKey, Message: "not TOML: " + pe.Message})
		if len(ld.mistakes) >= maxSyntax || line == 0 {
			return nil
		}
		rows[line-1] = ""
		text = strings.Join(rows, "\n")
	}
}

// brokenLine is the number of the line with the mistake, 0 for none. The parser may tell the line
// after it, where what is missing should have stood at the end of one.
func brokenLine(rows []string, text string, p toml.Position) int {
	n := p.Line
	if p.Start >= 0 && p.Start < len(text) && text[p.Start] == '\n' && strings.Count(text[:p.Start], "\n") == n-2 {
		n--
	}
	n = min(n, len(rows))
	for n > 0 && strings.TrimSpace(rows[n-1]) == "" {
		n--
	}
	return max(n, 0)
}

// reason is an error of the operating system without the name of the file.
func reason(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
