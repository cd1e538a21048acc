package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cordwood/broker"
)

// oneSignal is the time within which two signals are one: a supervisor signals the process and then its group.
const oneSignal = 200 * time.Millisecond

// untilSignal is a context that ends with SIGTERM or SIGINT, or with an error on failed. The stop that follows is
// orderly; a later SIGINT ends the process where it stands, which loses nothing that was acknowledged. SIGHUP, which
// a terminal sends when it goes, calls reload. SIGUSR1 logs what state knows. Both are called one at a time.
func untilSignal(log *zap.Logger, failed chan error, state func() []zap.Field, reload func()) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	released, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var asked time.Time
		for {
			select {
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					reload()
				case s == syscall.SIGUSR1:
					log.Info("state", state()...)
				case asked.IsZero():
					asked = time.Now()
					log.Info("stopping", zap.String("signal", s.String()))
					cancel()
				case s == syscall.SIGINT && time.Since(asked) > oneSignal:
					log.Warn("interrupted again: stopping at once, the next start recovers")
					os.Exit(exitFailed)
				}
			case err := <-failed:
				log.Error("stopping", zap.Error(err))
				failed <- err // for the exit code
				cancel()
				failed = nil
			case <-released:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(released)
		<-done
		cancel()
	}
}

// serverError gives a failure of the broker its exit code and, where the cause is a common one, the next step.
func serverError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return withCode(exitConfig, fmt.Errorf("%w; stop what uses the port, or choose another one", err))
	case errors.Is(err, syscall.EACCES) && errors.Is(err, broker.ErrConfig):
		return withCode(exitConfig, fmt.Errorf("%w; ports below 1024 need a privilege, others do not", err))
	case errors.Is(err, broker.ErrConfig):
		return withCode(exitConfig, err)
	case errors.Is(err, broker.ErrLocked):
		return withCode(exitLocked, err)
	case errors.Is(err, broker.ErrDisk):
		return withCode(exitDisk, err)
	}
	return err
}
