package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
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
