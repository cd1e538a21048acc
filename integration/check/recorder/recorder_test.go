package recorder

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/integration/check"
)

func TestTheHistoryOfConcurrentClientsIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		var mu sync.Mutex
		var log []check.Step
		var clients sync.WaitGroup
		for process := range 8 {
			clients.Go(func() {
				for i := range 100 {
					s := Sent("a-0", int64(process*100+i))
					p := r.Invoke(check.Op{Process: process, Do: check.Send, Steps: []check.Step{s}})
					time.Sleep(time.Millisecond)
					mu.Lock()
					s.Offset = int64(len(log))
					log = append(log, s)
					mu.Unlock()
					p.OK(s)
				}
			})
		}
		clients.Wait()
		r.Invoke(check.Op{Process: 9, Do: check.Send, Steps: []check.Step{Sent("a-0", -1)}}).Fail()
		r.Invoke(check.Op{Process: 9, Do: check.Send, Steps: []check.Step{Sent("a-0", -2)}}).Info()
		r.Invoke(check.Op{Process: 10, Do: check.Poll}).OK(log...)
		h := r.History()
		if got := check.Check(h); len(got.Errors()) > 0 || got.Acked != 800 || got.Read != 800 {
			t.Error(got)
		}
		if last := h[len(h)-1]; last.Began != 100*time.Millisecond {
			t.Error("the last operation began at", last.Began)
		}
	})
}

func TestASecondOutcomePanics(t *testing.T) {
	p := New().Invoke(check.Op{Do: check.Poll})
	p.Info()
	defer func() {
		if recover() == nil {
			t.Error("taken")
		}
	}()
	p.OK()
}
