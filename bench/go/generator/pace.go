package main

import (
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pace sends calls when they are due, from when it began until the window ends, and returns how late each of those in it left.
//
// Go's own timers are a millisecond coarse when nothing else runs; the kernel's are not.
func pace(o options, connections []*connection, began time.Time, w window) []time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)

	late := make([]time.Duration, 0, int(o.rate*o.seconds*1.2)+1)
	draw := rand.New(rand.NewPCG(o.seed, 1))
	interval := float64(time.Second) / o.rate
	touched := make([]bool, len(connections))
	for number, offset := 0, 0.0; ; {
		due := began.Add(time.Duration(offset))
		if !due.Before(w.until) {
			flushAll(connections, touched)
			return late
		}
		if wait := time.Until(due); wait > 0 {
			flushAll(connections, touched)
			sleep(time.Until(due))
		}
		which := number % len(connections)
		connections[which].send(due)
		touched[which] = true
		if !due.Before(w.from) {
			late = append(late, max(0, time.Since(due)))
		}
		number++
		if o.arrivals == "poisson" {
			offset += draw.ExpFloat64() * interval
		} else {
			offset = float64(number) * interval
		}
	}
}

func flushAll(connections []*connection, touched []bool) {
	for i, c := range connections {
		if touched[i] {
			c.flush()
			touched[i] = false
		}
	}
}

func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	rest := unix.NsecToTimespec(int64(d))
	// Interrupted it only comes back sooner, and is called again.
	_ = unix.Nanosleep(&rest, nil)
}
