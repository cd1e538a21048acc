package abuse

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table of docs/badinputs.md: every number that is due has a row, what the rows name exists, and every case here has
// a row that names its file.
func TestTheTableOfBadInputsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/badinputs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|.*\| ([^|]*) \|$`).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil || rows[n] != "" {
			t.Fatalf("row %q", m[0])
		}
		rows[n] = m[2]
	}
	for _, span := range [][2]int{{1, 11}, {13, 65}, {67, 79}, {115, 116}, {119, 121}, {123, 126}, {130, 131}, {133, 138}, {140, 150}} {
		for n := span[0]; n <= span[1]; n++ {
			if rows[n] == "" {
				t.Errorf("%d has no row", n)
			}
		}
	}
	for n, where := range rows {
		for _, place := range strings.Split(where, "; ") {
			checkPlace(t, n, place)
		}
	}
	for _, c := range Cases(&Ground{MaxFrame: 8 << 20, MaxFetch: 1 << 20}) {
		if !strings.Contains(rows[c.Number], "integration/abuse/") {
			t.Errorf("%s: its row names no file of this package", c)
		}
	}
}

// checkPlace checks "file: TestOne, TestTwo", or a file of this package that has cases of the number.
func checkPlace(t *testing.T, n int, place string) {
	t.Helper()
	file, tests, _ := strings.Cut(place, ": ")
	source, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Errorf("%d: %v", n, err)
		return
	}
	if tests == "" {
		constant := regexp.MustCompile(`(Number: |number: |add\()` + strconv.Itoa(n) + `\b`)
		if !constant.Match(source) {
			t.Errorf("%d: no case in %s", n, file)
		}
		return
	}
	for _, name := range strings.Split(tests, ", ") {
		if !slices.Contains(strings.Fields(strings.ReplaceAll(string(source), "(", " ")), name) {
			t.Errorf("%d: no %s in %s", n, name, file)
		}
	}
}

// Every fuzz target of the module is named in the document, and every one named is there.
func TestTheListOfFuzzTargetsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/badinputs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## Fuzz targets")
	there := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(Fuzz\\w+)`").FindAllStringSubmatch(list, -1) {
		named[m[1]] = true
	}
	for name := range there {
		if !named[name] {
			t.Errorf("%s is not named", name)
		}
	}
	for name := range named {
		if !there[name] {
			t.Errorf("%s is not there", name)
		}
	}
}
