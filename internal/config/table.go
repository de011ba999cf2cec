package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// table reads the keys of one TOML table. Each reader leaves its destination, which
// holds the default, where the key is missing or wrong, and notes the mistake.
// finish notes the keys that nobody asked for.
type table struct {
	ld    *loader
	path  string
	raw   map[string]any
	known []string
	// orWord may stand in place of the value that is being read, for messages.
	orWord string
}

// has says whether the file has the key.
func (t *table) has(key string) bool {
	_, ok := t.raw[key]
	return ok
}

// either is the one of two keys that the file has; the first where it has none.
func (t *table) either(a, b string) string {
	if !t.has(a) && t.has(b) {
		return b
	}
	return a
}

func (t *table) get(key string) (any, bool) {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	v, ok := t.raw[key]
	return v, ok
}

// fail notes a mistake at key; "" means the table itself.
func (t *table) fail(key, format string, args ...any) {
	path := t.path
	if key != "" {
		path = join(t.path, key)
	}
	t.ld.fail(path, format, args...)
}

func (t *table) wrong(key, expected string, found any) {
	if t.orWord != "" {
		expected += fmt.Sprintf(", or %q", t.orWord)
		if s, ok := found.(string); ok && nearest(s, []string{t.orWord}) != "" {
			t.fail(key, "expected %s, found %s; did you mean %q?", expected, describe(found), t.orWord)
			return
		}
	}
	t.fail(key, "expected %s, found %s", expected, describe(found))
}

// need notes a mistake where key is missing.
func (t *table) need(keys ...string) bool {
	all := true
	for _, key := range keys {
		if _, ok := t.get(key); !ok {
			t.ld.missing(join(t.path, key), t.path)
			all = false
		}
	}
	return all
}

// finish notes keys that were never read.
func (t *table) finish() {
	if t.ld.onFinish != nil {
		t.ld.onFinish(t)
	}
	for key := range t.raw { // mistakes are sorted by line in the end
		if slices.Contains(t.known, key) {
			continue
		}
		msg := "unknown key"
		if near := nearest(key, t.known); near != "" {
			msg += fmt.Sprintf("; did you mean %q?", near)
		} else {
			msg += "; expected one of " + strings.Join(t.known, ", ")
		}
		t.fail(key, "%s", msg)
	}
}

// describe names a TOML value as its writer sees it.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.80q", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date"
}

func (t *table) str(key string, dst *string) bool {
	v, ok := t.get(key)
	if !ok {
		return false
	}
	s, ok := v.(string)
	if !ok || s == "" {
		t.wrong(key, "a text in quotes", v)
		return false
	}
	*dst = s
	return true
}

func (t *table) boolean(key string, dst *bool) {
	if v, ok := t.get(key); ok {
		b, ok := v.(bool)
		if !ok {
			t.wrong(key, "true or false", v)
			return
		}
		*dst = b
	}
}

// integer reads a number between low and high.
func integer[T ~int | ~uint16 | ~uint32 | ~uint64](t *table, key string, low, high int64, dst *T) {
	if v, ok := t.get(key); ok {
		n, ok := v.(int64)
		if !ok || n < low || n > high {
			t.wrong(key, fmt.Sprintf("a whole number from %d to %d", low, high), v)
			return
		}
		*dst = T(n)
	}
}

func (t *table) fraction(key string, dst *float64) {
	if v, ok := t.get(key); ok {
		f, isFloat := v.(float64)
		if n, isInt := v.(int64); isInt {
			f, isFloat = float64(n), true
		}
		if !isFloat || math.IsNaN(f) || f < 0 || f > 1 {
			t.wrong(key, "a number from 0 to 1", v)
			return
		}
		*dst = f
	}
}

// oneOf reads one of a few words.
func oneOf[T ~string](t *table, key string, dst *T, words ...T) bool {
	v, ok := t.get(key)
	if !ok {
		return false
	}
	s, _ := v.(string)
	if !slices.Contains(words, T(s)) {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = fmt.Sprintf("%q", string(w))
		}
		t.wrong(key, strings.Join(quoted, " or "), v)
		return false
	}
	*dst = T(s)
	return true
}

// sub opens the table under key; nil where there is none.
func (t *table) sub(key string) *table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.fail(key, "expected a table [%s], found %s", join(t.path, key), describe(v))
		return nil
	}
	return &table{ld: t.ld, path: join(t.path, key), raw: m}
}

// subs opens the tables of the array under key.
func (t *table) subs(key string) []*table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	var maps []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		maps = v
	case []any: // an inline list of inline tables
		for i, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				t.wrong(fmt.Sprintf("%s[%d]", key, i+1), "a table in braces", e)
				continue
			}
			maps = append(maps, m)
		}
	default:
		t.fail(key, "expected tables [[%s]], each with two brackets, found %s", join(t.path, key), describe(v))
	}
	out := make([]*table, len(maps))
	for i, m := range maps {
		out[i] = &table{ld: t.ld, path: fmt.Sprintf("%s[%d]", join(t.path, key), i+1), raw: m}
	}
	return out
}
