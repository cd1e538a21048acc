package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer serves /metrics, /livez and /readyz, and Go's profiler behind its key.
type httpServer struct {
	listener net.Listener
	server   *http.Server
}

// listenHTTP binds the HTTP address; nil when there is none.
func (b *Broker) listenHTTP() error {
	if b.cfg.HTTPAddr == "" {
		return nil
	}
	l, err := b.cfg.Listen("tcp", b.cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("%w: cordwood.http.listener=%s: %w", ErrConfig, b.cfg.HTTPAddr, err)
	}
	mux := http.NewServeMux()
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(b))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", b.readyz)
	mux.HandleFunc("GET /healthz", b.readyz)
	if b.cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	b.http = &httpServer{listener: l, server: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}
	return nil
}

// readyz is 200 once this broker is registered, unfenced and serving, else 503 with the reason.
func (b *Broker) readyz(w http.ResponseWriter, _ *http.Request) {
	if why := b.notReady(); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// run serves until ctx ends.
func (h *httpServer) run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		shut, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = h.server.Shutdown(shut)
		_ = h.server.Close()
	}()
	err := h.server.Serve(h.listener)
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
