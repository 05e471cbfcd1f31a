package main

import (
	"slices"
	"time"

	service "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/sys/unix"
)

// report is what a run prints. Latencies are in microseconds.
type report struct {
	Answers    int                `json:"answers"` // within the seconds measured
	Calls      int                `json:"calls"`   // from the first to the last, the warm-up's too
	PerSecond  float64            `json:"per_second"`
	LatencyUS  map[string]float64 `json:"latency_us"`
	LateUS     map[string]float64 `json:"late_us,omitempty"` // open loop: how late calls left
	Codes      map[string]int     `json:"codes"`
	Degraded   int                `json:"degraded"` // answers given without the store
	Errors     map[string]int     `json:"errors"`
	CPU        float64            `json:"generator_cpu"` // the generator's own use of its core, 1 is all of it
	Generator  string             `json:"generator"`
	Connection int                `json:"connections"`
}

func summarise(o options, connections []*connection, late []time.Duration, cpu float64) report {
	r := report{
		Codes: map[string]int{}, Errors: map[string]int{}, CPU: cpu, Generator: "go", Connection: len(connections),
	}
	var latencies []time.Duration
	for _, c := range connections {
		c.mu.Lock()
		r.Calls += int(c.nextID-1) / 2
		latencies = append(latencies, c.latencies...)
		r.Degraded += c.degraded
		for code, count := range c.codes {
			r.Codes[code] += count
		}
		for cause, count := range c.errors {
			r.Errors[cause] += count
		}
		c.mu.Unlock()
	}
	r.Answers = len(latencies)
	r.PerSecond = float64(len(latencies)) / o.seconds
	r.LatencyUS = quantiles(latencies)
	if late != nil {
		r.LateUS = quantiles(late)
	}
	return r
}

func quantiles(spans []time.Duration) map[string]float64 {
	if len(spans) == 0 {
		return map[string]float64{}
	}
	slices.Sort(spans)
	at := func(q float64) float64 {
		return float64(spans[min(len(spans)-1, int(q*float64(len(spans))))].Nanoseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.50), "p90": at(0.90), "p99": at(0.99), "p99.9": at(0.999), "max": at(1)}
}

func codeName(code int32) string {
	return service.RateLimitResponse_Code(code).String()
}

// cpuSeconds is what this process has used so far.
func cpuSeconds() float64 {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
