package controller

import (
	"time"

	"cordwood/controller/decide"

	"go.uber.org/zap"
)

// balanceMore is when leaderships are looked at again after a look that moved as many as it may: their clients have found
// the new leaders by then.
const balanceMore = time.Second

// balanceIn sets the time of the next look at the leaderships; 0: there is none.
func (d *decider) balanceIn(wait time.Duration) {
	if d.balance = (time.Time{}); wait > 0 {
		d.balance = time.Now().Add(wait)
	}
}

// rebalance gives leaderships back to preferred brokers, when it is time to.
func (d *decider) rebalance(r *round) {
	if d.balance.IsZero() || time.Now().Before(d.balance) {
		return
	}
	d.balanceIn(d.n.cfg.BalanceInterval)
	out := decide.Rebalance(r.scratch, d.n.cfg.BalancePercent)
	if out.Reply.More {
		d.balanceIn(balanceMore)
	}
	if out.Reply.Elected == 0 {
		return
	}
	if err := r.add(out.Changes); err != nil {
		return // said there
	}
	d.n.log.Info("leaderships go back to preferred brokers", zap.String("event", "CW-0422"), zap.Int("partitions", out.Reply.Elected), zap.Bool("more", out.Reply.More))
}
