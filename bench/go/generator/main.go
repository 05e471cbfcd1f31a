// The load generator: calls ShouldRateLimit, or any one method with one message, over plain-text HTTP/2 and prints what
// it measured as one JSON object.
//
// It speaks HTTP/2 frames itself, with requests made beforehand, so that one core of it outpaces one core of what it
// measures. Two ways to call:
//
//   - open: calls are due at a fixed rate, whatever became of those before; a latency counts from when the call was due,
//     so that a server which stalls is charged with all who waited (no coordinated omission);
//   - closed: each stream calls again as soon as it is answered; for throughput.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

type options struct {
	address     string
	method      string
	message     string
	headers     headers
	mode        string
	arrivals    string
	rate        float64
	seconds     float64
	warmup      float64
	connections int
	streams     int
	domain      string
	key         string
	keys        int
	descriptors int
	seed        uint64
}

// headers are names and values that go with each call.
type headers [][2]string

func (h *headers) String() string { return fmt.Sprint(*h) }

func (h *headers) Set(word string) error {
	name, value, found := strings.Cut(word, ":")
	if !found || name == "" {
		return errors.New("must be a name, a colon and a value")
	}
	*h = append(*h, [2]string{strings.ToLower(name), strings.TrimSpace(value)})
	return nil
}

func main() {
	o := parse()
	// It is pinned to one core: the runtime would give it one P, and the pacer, which sleeps in the kernel, would hold it.
	runtime.GOMAXPROCS(4)
	debug.SetGCPercent(400)
	report, err := run(o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "generator: %v\n", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		fmt.Fprintf(os.Stderr, "generator: %v\n", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.address, "address", "", "host:port of the server")
	flag.StringVar(&o.method, "method", shouldRateLimit, "path of the method; of another one, what it answers is not read")
	flag.StringVar(&o.message, "message", "", "the message of each call of another method, in hexadecimal digits")
	flag.Var(&o.headers, "header", "`name:value` that goes with each call; may be given again")
	flag.StringVar(&o.mode, "mode", "open", "open or closed")
	flag.StringVar(&o.arrivals, "arrivals", "even", "open loop: even (every 1/rate seconds) or poisson")
	flag.Float64Var(&o.rate, "rate", 1000, "open loop: calls a second")
	flag.Float64Var(&o.seconds, "seconds", 5, "seconds that are measured")
	flag.Float64Var(&o.warmup, "warmup", 1, "seconds before that")
	flag.IntVar(&o.connections, "connections", 4, "connections")
	flag.IntVar(&o.streams, "streams", 8, "closed loop: calls under way on each connection")
	flag.StringVar(&o.domain, "domain", "bench", "domain of the requests")
	flag.StringVar(&o.key, "key", "client", "key of their entries")
	flag.IntVar(&o.keys, "keys", 1, "how many different values, drawn evenly")
	flag.IntVar(&o.descriptors, "descriptors", 1, "descriptors of each request; the second has the key with -2 after it")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the draws")
	flag.Parse()
	if o.address == "" || o.keys < 1 || o.connections < 1 || o.streams < 1 || o.rate <= 0 || o.seconds <= 0 ||
		(o.mode != "open" && o.mode != "closed") || (o.arrivals != "even" && o.arrivals != "poisson") {
		flag.Usage()
		os.Exit(2)
	}
	return o
}

func run(o options) (report, error) {
	bodies, err := requests(o)
	if err != nil {
		return report{}, err
	}
	connections := make([]*connection, o.connections)
	for i := range connections {
		if connections[i], err = dial(o, bodies, o.seed+uint64(i)); err != nil {
			return report{}, err
		}
		defer connections[i].close()
	}
	usage, began := cpuSeconds(), time.Now()
	from := began.Add(time.Duration(o.warmup * float64(time.Second)))
	window := window{from: from, until: from.Add(time.Duration(o.seconds * float64(time.Second)))}
	for _, c := range connections {
		c.count(window)
	}
	var late []time.Duration
	if o.mode == "open" {
		late = pace(o, connections, began, window)
	} else {
		for _, c := range connections {
			c.start(o.streams)
		}
	}
	time.Sleep(time.Until(window.until))
	used := cpuSeconds() - usage
	deadline := time.Now().Add(5 * time.Second)
	for _, c := range connections {
		if err := c.wait(deadline); err != nil {
			return report{}, err
		}
	}
	return summarise(o, connections, late, used/time.Since(began).Seconds()), nil
}
