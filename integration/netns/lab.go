//go:build process

package netns

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// Outside stands for the namespace that the test itself is in.
const Outside = -1

// nobody is a hardware address that no interface here has.
const nobody = "02:00:00:00:00:01"

var labs atomic.Int32

// Lab is some hosts on a switch. One goroutine at a time uses it.
type Lab struct {
	name   string // of the bridge; prefix of the namespaces' names
	subnet int    // 10.213.subnet.0/24
	hosts  int
	cuts   map[cut]bool
}

// cut is a direction in which nothing passes.
type cut struct{ from, to int }

// New sets up n hosts, or says why this machine has no such thing.
func New(t testing.TB, n int) (*Lab, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	subnet, err := freeSubnet()
	if err != nil {
		return nil, err
	}
	l := &Lab{name: fmt.Sprintf("cw%d%c", os.Getpid(), 'a'+labs.Add(1)-1), subnet: subnet, hosts: n, cuts: map[cut]bool{}}
	t.Cleanup(l.remove)
	if err := l.build(); err != nil {
		return nil, fmt.Errorf("no network namespaces here: %w", err)
	}
	return l, nil
}

// freeSubnet finds a third byte of 10.213.x.0/24 that this machine does not use.
func freeSubnet() (int, error) {
	used, err := net.InterfaceAddrs()
	if err != nil {
		return 0, err
	}
	for i := range 250 {
		x := (os.Getpid() + i) % 250
		free := true
		for _, a := range used {
			free = free && !strings.HasPrefix(a.String(), fmt.Sprintf("10.213.%d.", x))
		}
		if free {
			return x, nil
		}
	}
	return 0, errors.New("every 10.213.x.0/24 is in use")
}

func (l *Lab) build() error {
	if err := ip(fmt.Sprintf("link add %s type bridge\naddr add %s/24 dev %s\nlink set %s up", l.name, l.Addr(Outside), l.name, l.name)); err != nil {
		return err
	}
	for i := range l.hosts {
		ns, port := l.Namespace(i), l.port(i)
		if err := ip(fmt.Sprintf("netns add %s\nlink add %s type veth peer name eth0 netns %s\nlink set %s master %s up", ns, port, ns, port, l.name)); err != nil {
			return err
		}
		if err := ip(fmt.Sprintf("link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up", l.Addr(i)), "-n", ns); err != nil {
			return err
		}
	}
	return nil
}

// remove takes away what there is; processes in a namespace keep it until they end.
func (l *Lab) remove() {
	for i := range l.hosts {
		_ = ip("link del " + l.port(i)) // at once, with its other end; that of a namespace takes its time
		_ = ip("netns del " + l.Namespace(i))
	}
	_ = ip("link del " + l.name)
}

func (l *Lab) port(host int) string { return fmt.Sprintf("%s-%d", l.name, host) }

// Namespace is the name of a host's namespace, as `ip netns exec` takes it.
func (l *Lab) Namespace(host int) string { return l.port(host) }

// Addr is the address of a host, or of Outside.
func (l *Lab) Addr(host int) string {
	if host == Outside {
		return fmt.Sprintf("10.213.%d.254", l.subnet)
	}
	return fmt.Sprintf("10.213.%d.%d", l.subnet, host+1)
}

// Cut drops what one host sends to others, until Heal.
func (l *Lab) Cut(from int, to ...int) error {
	var commands []string
	for _, other := range to {
		if c := (cut{from, other}); other != from && !l.cuts[c] {
			l.cuts[c] = true
			commands = append(commands, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", l.Addr(other), nobody, l.device(from)))
		}
	}
	return l.in(from, commands)
}

// Separate drops everything between one host and others.
func (l *Lab) Separate(host int, others ...int) error {
	err := l.Cut(host, others...)
	for _, other := range others {
		err = errors.Join(err, l.Cut(other, host))
	}
	return err
}

// Others are all hosts but one, without Outside.
func (l *Lab) Others(host int) []int {
	var out []int
	for i := range l.hosts {
		if i != host {
			out = append(out, i)
		}
	}
	return out
}

// Heal ends every cut.
func (l *Lab) Heal() error {
	var err error
	for from := Outside; from < l.hosts; from++ {
		var commands []string
		for c := range l.cuts {
			if c.from == from {
				commands = append(commands, fmt.Sprintf("neigh del %s dev %s", l.Addr(c.to), l.device(from)))
				delete(l.cuts, c)
			}
		}
		err = errors.Join(err, l.in(from, commands))
	}
	return err
}

func (l *Lab) device(host int) string {
	if host == Outside {
		return l.name
	}
	return "eth0"
}

func (l *Lab) in(host int, commands []string) error {
	if len(commands) == 0 {
		return nil
	}
	if host == Outside {
		return ip(strings.Join(commands, "\n"))
	}
	return ip(strings.Join(commands, "\n"), "-n", l.Namespace(host))
}

// ip runs commands of the program ip, one a line; "netns add" is one of them.
func ip(commands string, options ...string) error {
	if _, err := exec.LookPath("ip"); err != nil {
		return err
	}
	cmd := exec.Command("ip", append(options, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(commands + "\n")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.ReplaceAll(commands, "\n", "; "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
