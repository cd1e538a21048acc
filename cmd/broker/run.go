package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes, those of sysexits.h where it has one, so that a supervisor can tell "try again" from "do not".
const (
	exitFailed = 1
	exitUsage  = 2
	exitDisk   = 74
	exitLocked = 75
	exitConfig = 78
)

// terminal is what a command reads from and writes to (C1).
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// codedError carries the exit code of a failure.
type codedError struct {
	code int
	error
}

func (e *codedError) Unwrap() error { return e.error }

// withCode gives a failure an exit code, unless it has one that says more.
func withCode(code int, err error) error {
	if coded := new(codedError); err == nil || errors.As(err, &coded) {
		return err
	}
	return &codedError{code, err}
}

func usageErrorf(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

// run executes a command line and returns the exit code.
func run(t *terminal, args []string) int {
	root := rootCommand(t)
	root.SetArgs(args)
	plainUsage(root)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintln(t.err, "cordwood:", line)
	}
	coded := new(codedError)
	if !errors.As(err, &coded) {
		return exitFailed
	}
	if coded.code == exitUsage {
		fmt.Fprintf(t.err, "usage: %s\nmore:  %s --help\n", cmd.UseLine(), cmd.CommandPath())
	}
	return coded.code
}

func rootCommand(t *terminal) *cobra.Command {
	root := family("cordwood", "A message broker that speaks the Kafka protocol: one binary, no set-up")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(usageTemplate)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitUsage, err) })
	root.AddCommand(devCommand(t), demoCommand(t), serveCommand(t), gatewayCommand(t), topicCommand(t), produceCommand(t), consumeCommand(t), groupCommand(t), clusterCommand(t),
		logCommand(t), configCommand(t), versionCommand(t))
	return root
}

// usageTemplate is cobra's without the line that a family of commands would have twice.
const usageTemplate = `Usage:
  {{.UseLine}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name 15}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of every {{.Parent.Name}} command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" says more.
{{- end}}
`

// plainUsage keeps "[flags]" out of the usage lines; they say themselves what there is.
func plainUsage(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, c := range cmd.Commands() {
		plainUsage(c)
	}
}

// family is a command that only has commands below it; by itself, or with an unknown one, it is wrong usage.
func family(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name + " COMMAND", Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			there := strings.Join(names(cmd), ", ")
			if len(args) == 0 {
				return usageErrorf("which command? There are: %s", there)
			}
			if s := suggest(cmd, args[0]); s != "" {
				return usageErrorf("there is no command %q; did you mean %s?", args[0], s)
			}
			return usageErrorf("there is no command %q; there are: %s", args[0], there)
		},
	}
}

// suggest is the command that a wrong name is nearest to.
func suggest(cmd *cobra.Command, name string) string {
	for cmd.SuggestionsMinimumDistance = 1; cmd.SuggestionsMinimumDistance <= 2; cmd.SuggestionsMinimumDistance++ {
		if s := cmd.SuggestionsFor(name); len(s) > 0 {
			return s[0]
		}
	}
	return ""
}

func names(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			out = append(out, c.Name())
		}
	}
	return out
}

// arguments wants from least to most arguments (most < 0: any number).
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageErrorf("%s wants %s", shortPath(cmd), what)
		case most >= 0 && len(args) > most:
			return usageErrorf("%s wants %s; %q is too much", shortPath(cmd), what, args[most])
		}
		return nil
	}
}

func shortPath(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "cordwood ") }

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("%s wants no arguments; %q is too much", shortPath(cmd), args[0])
	}
	return nil
}
