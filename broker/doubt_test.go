package broker

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
)

func TestAnswersWaitForTheEndOfEveryDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubts
		waited := func(ctx context.Context) time.Duration {
			began := time.Now()
			d.wait(ctx)
			return time.Since(began)
		}
		if got := waited(t.Context()); got != 0 {
			t.Error("without a doubt they wait", got)
		}

		one, other := d.begin(1, time.Now()), d.begin(2, time.Now())
		if d.begin(1, time.Now()) != nil {
			t.Error("a broker is doubted twice at a time")
		}
		time.AfterFunc(30*time.Millisecond, one)
		time.AfterFunc(50*time.Millisecond, other)
		if got := waited(t.Context()); got != 50*time.Millisecond {
			t.Error("they wait", got)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		late := d.begin(1, time.Now())
		if got := waited(ctx); got != 20*time.Millisecond {
			t.Error("who leaves after 20 ms waits", got)
		}
		if got := waited(t.Context()); got != doubtMost-20*time.Millisecond {
			t.Error("of a doubt that nobody ends there was left", got)
		}

		// A doubt that is over does not end the one that came after it.
		next := d.begin(1, time.Now())
		late()
		time.AfterFunc(10*time.Millisecond, next)
		if got := waited(t.Context()); got != 10*time.Millisecond {
			t.Error("they wait", got, "for the next doubt")
		}
	})
}

func TestDoubtsThatFollowOneAnotherDoNotHoldAnAnswerForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubts
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { // two peers that keep losing their connections
			for id := metadata.NodeID(1); ctx.Err() == nil; id = 3 - id {
				d.begin(id, time.Now())
				sleep(ctx, doubtMost*3/5)
			}
		}()
		synctest.Wait()
		began := time.Now()
		d.wait(t.Context())
		if got := time.Since(began); got != doubtMost {
			t.Error("they wait", got)
		}
	})
}

// What ends a doubt: the image, lateness, or the dials of the address.
func TestADoubtEndsWhenClientsAreToldTheRightThingOrNothingProvesADeath(t *testing.T) {
	refused := func(context.Context) error { return syscall.ECONNREFUSED }
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	answers := func(context.Context) error { return nil }
	after := 100 * time.Millisecond
	late := func(b *Broker) { b.hear([]metadata.NodeID{2}) }
	fenced := func(b *Broker) {
		img, err := b.image().With(b.image().Index()+1, []metadata.Change{metadata.BrokerFenced{ID: 2, Epoch: b.image().Broker(2).Epoch}})
		if err != nil {
			t.Error(err)
			return
		}
		b.publish(img)
	}
	for name, c := range map[string]struct {
		dial          func(ctx context.Context) error
		before, while func(b *Broker) // while: after 100 ms
		want          time.Duration
	}{
		"refuses":                   {refused, nil, nil, doubtMost},
		"refuses, then fenced":      {refused, nil, fenced, after},
		"refuses, then late":        {refused, nil, late, after},
		"refuses and is late":       {refused, late, nil, 0},
		"refuses and is fenced":     {refused, fenced, nil, 0},
		"silent":                    {silent, nil, nil, doubtDials},
		"silent, then fenced":       {silent, nil, fenced, after},
		"silent, then late":         {silent, nil, late, after},
		"silent and is late":        {silent, late, nil, 0},
		"answers":                   {answers, nil, nil, doubtPause},
		"another one becomes late":  {refused, nil, func(b *Broker) { b.hear([]metadata.NodeID{1}) }, doubtMost},
		"another controller speaks": {refused, nil, func(b *Broker) { b.hear(nil) }, doubtMost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &Broker{tasks: make(chan func(context.Context), 1)}
				b.cfg = Config{NodeID: 3, DefiniteDeath: true, SessionTimeout: time.Minute, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					if err := c.dial(ctx); err != nil {
						return nil, err
					}
					here, there := net.Pipe()
					_ = there.Close()
					return here, nil
				}}
				img := imageOf(t, 1, 2)
				img, err := img.With(img.Index()+1, []metadata.Change{metadata.BrokerUnfenced{ID: 2, Epoch: img.Broker(2).Epoch}})
				if err != nil {
					t.Fatal(err)
				}
				b.publish(img)
				if c.before != nil {
					c.before(b)
				}
				var all sync.WaitGroup
				defer all.Wait()
				b.doubt(img.Broker(2))
				select {
				case task := <-b.tasks:
					all.Go(func() { task(context.Background()) })
					synctest.Wait()
				default:
				}
				if c.while != nil {
					time.AfterFunc(after, func() { c.while(b) })
				}
				began := time.Now()
				b.doubts.wait(t.Context())
				if got := time.Since(began); got != c.want {
					t.Error("clients wait", got, "and not", c.want)
				}
			})
		})
	}
}
