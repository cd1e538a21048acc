package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// architecture says which package may import and do what.
type architecture struct {
	module    string   // prefix of our own import paths
	exempt    []string // folders outside the house; comments and lengths count there too, floors only for what is on one
	floors    []floor
	pure      []string
	impure    []string // what a pure package must not import, with everything below it
	pureParts []string // but these
	clock     []string // names of package time that a pure package must not use
	others    []floor  // modules of others

	fileLines, functionLines int
}

// floor is a package and what it may import, or a module and who may import it.
type floor struct {
	name string
	may  []string
}

// check reads a source tree and says what is wrong in it, each as path:line: what. Files are checked whatever their
// build tags are.
func (a *architecture) check(tree fs.FS) ([]string, error) {
	found := a.checkTable()
	commented := map[string]bool{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "tools") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		c := sourceFile{architecture: a, name: name, pkg: path.Dir(name), fset: token.NewFileSet()}
		c.check(src)
		found = append(found, c.found...)
		commented[c.pkg] = commented[c.pkg] || c.commented
		return nil
	})
	for pkg, ok := range commented {
		if !ok {
			found = append(found, pkg+": no package comment; it begins with Package or Command")
		}
	}
	slices.Sort(found)
	return found, err
}

// checkTable: the table lists the ground floor first, so no arrow can point up.
func (a *architecture) checkTable() (found []string) {
	var below []string
	for _, f := range a.floors {
		for _, m := range f.may {
			if !slices.Contains(below, m) {
				found = append(found, fmt.Sprintf("%s may import %s, which is not below it", f.name, m))
			}
		}
		below = append(below, f.name)
	}
	return found
}

func lookup(list []floor, name string) *floor {
	i := slices.IndexFunc(list, func(f floor) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func under(name, prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"/") }

func underAny(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return under(name, p) })
}

// sourceFile is one file under the check.
type sourceFile struct {
	*architecture
	name, pkg string
	fset      *token.FileSet
	commented bool
	found     []string
}

func (c *sourceFile) report(at token.Pos, format string, args ...any) {
	line := 1
	if at.IsValid() {
		line = c.fset.Position(at).Line
	}
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", c.name, line, fmt.Sprintf(format, args...)))
}

func (c *sourceFile) check(src []byte) {
	if n := strings.Count(string(src), "\n"); n > c.fileLines {
		c.report(token.NoPos, "the file has %d lines, more than %d: it wants to be two ideas", n, c.fileLines)
	}
	file, err := parser.ParseFile(c.fset, c.name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		c.found = append(c.found, err.Error())
		return
	}
	text := file.Doc.Text()
	c.commented = strings.HasPrefix(text, "Package ") || strings.HasPrefix(text, "Command ")
	c.checkLengths(file)
	room := lookup(c.floors, c.pkg)
	if room == nil && underAny(c.pkg, c.exempt) {
		return
	}
	if room == nil {
		c.report(token.NoPos, "package %s is on no floor", c.pkg)
		return
	}
	for _, spec := range file.Imports {
		target, _ := strconv.Unquote(spec.Path.Value)
		c.checkImport(spec, target, room)
	}
	if slices.Contains(c.pure, c.pkg) {
		c.checkPure(file)
	}
}

func (c *sourceFile) checkLengths(file *ast.File) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := c.fset.Position(f.End()).Line - c.fset.Position(f.Pos()).Line + 1; n > c.functionLines {
			c.report(f.Pos(), "func %s has %d lines, more than %d", f.Name.Name, n, c.functionLines)
		}
	}
}

func (c *sourceFile) checkImport(spec *ast.ImportSpec, target string, room *floor) {
	own, isOwn := strings.CutPrefix(target, c.module)
	first, _, _ := strings.Cut(target, "/")
	switch {
	case isOwn:
		if !slices.Contains(room.may, own) {
			c.report(spec.Pos(), "%s must not import %s: the floors do not say so", c.pkg, target)
		}
	case strings.Contains(first, "."): // a module of others; Go's own paths have no dot
		i := slices.IndexFunc(c.others, func(f floor) bool { return under(target, f.name) })
		if i < 0 || c.others[i].may != nil && !slices.Contains(c.others[i].may, c.pkg) {
			c.report(spec.Pos(), "%s must not import %s: the module does not belong there", c.pkg, target)
		}
	}
	if slices.Contains(c.pure, c.pkg) && underAny(target, c.impure) && !slices.Contains(c.pureParts, target) {
		c.report(spec.Pos(), "%s is pure and must not import %s", c.pkg, target)
	}
}

// checkPure finds clocks and goroutines.
func (c *sourceFile) checkPure(file *ast.File) {
	clock := ""
	for _, spec := range file.Imports {
		if spec.Path.Value != `"time"` {
			continue
		}
		clock = "time"
		if spec.Name != nil {
			clock = spec.Name.Name
		}
		if clock == "." {
			c.report(spec.Pos(), "%s is pure and must not import time with a dot: its clocks could not be seen", c.pkg)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.report(n.Pos(), "%s is pure and must not start goroutines", c.pkg)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(c.clock, n.Sel.Name) {
				c.report(n.Pos(), "%s is pure and must not use time.%s", c.pkg, n.Sel.Name)
			}
		}
		return true
	})
}
