package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer serves /metrics, /livez and /readyz.
type httpServer struct {
	listener net.Listener
	server   *http.Server
}

// listenHTTP binds the HTTP address if there is one.
func (g *Gateway) listenHTTP() error {
	addr := g.config().HTTPAddr
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: cordwood.http.listener=%s: %w", ErrConfig, addr, err)
	}
	mux := http.NewServeMux()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{g})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.HandleFunc("GET /healthz", g.readyz)
	g.http = &httpServer{listener: l, server: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}
	return nil
}

// readyz is 200 while clients are let in and some broker answers, else 503 with the reason.
func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	g.mu.RLock()
	draining := g.draining
	g.mu.RUnlock()
	switch {
	case draining:
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case !g.nodes.anyUp():
		http.Error(w, "no broker answers", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ready")
	}
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
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}
