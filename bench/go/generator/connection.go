package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	service "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const receiveWindow = 1 << 30

// window is the time in which calls count: those that were due in it, in a closed loop those answered in it.
type window struct{ from, until time.Time }

// call is one that waits for its answer, and what of the answer has come.
type call struct {
	due      time.Time
	code     int32
	degraded bool
	data     bool
}

// connection is one HTTP/2 connection. Sending may be done by any goroutine, receiving is its own goroutine's.
type connection struct {
	closed bool // each answer is followed by the next call
	method string
	bodies [][]byte
	draw   *rand.Rand

	socket net.Conn
	reader *bufio.Reader
	framer *http2.Framer
	block  []byte // the request's headers, as the second call and all after it send them
	decode *hpack.Decoder
	status string // grpc-status of the headers being decoded

	mu         sync.Mutex
	window     window
	writer     *bufio.Writer
	nextID     uint32
	open       map[uint32]call
	waiting    []time.Time // due, but held up by the server's flow control
	sendWindow int
	maxStreams int
	failure    error
	done       chan struct{}

	received  int
	latencies []time.Duration
	codes     map[string]int
	errors    map[string]int
	degraded  int
}

func dial(o options, bodies [][]byte, seed uint64) (*connection, error) {
	socket, err := net.DialTimeout("tcp", o.address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &connection{
		closed: o.mode == "closed", method: o.method, bodies: bodies, draw: rand.New(rand.NewPCG(seed, 0)),
		socket: socket, reader: bufio.NewReaderSize(socket, 1<<16), writer: bufio.NewWriterSize(socket, 1<<16),
		nextID: 1, open: map[uint32]call{}, sendWindow: 65535, maxStreams: 100, done: make(chan struct{}),
		latencies: make([]time.Duration, 0, 1<<20), codes: map[string]int{}, errors: map[string]int{},
	}
	c.framer = http2.NewFramer(c.writer, c.reader)
	c.framer.SetReuseFrames()
	c.decode = hpack.NewDecoder(4096, func(field hpack.HeaderField) {
		if field.Name == "grpc-status" {
			c.status = field.Value
		}
	})
	if err := c.greet(o.address, o.headers); err != nil {
		socket.Close()
		return nil, fmt.Errorf("%s: %w", o.address, err)
	}
	go c.receive()
	return c, nil
}

// greet exchanges settings, and encodes the headers by what the server's say.
func (c *connection) greet(authority string, more headers) error {
	c.socket.SetDeadline(time.Now().Add(5 * time.Second))
	defer c.socket.SetDeadline(time.Time{})
	c.writer.WriteString(http2.ClientPreface)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	c.framer.WriteWindowUpdate(0, receiveWindow-65535)
	if err := c.writer.Flush(); err != nil {
		return err
	}
	table := uint32(4096)
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		settings, ok := frame.(*http2.SettingsFrame)
		if !ok || settings.IsAck() {
			if err := c.control(frame); err != nil {
				return err
			}
			continue
		}
		if size, ok := settings.Value(http2.SettingHeaderTableSize); ok {
			table = min(table, size)
		}
		if err := c.control(frame); err != nil {
			return err
		}
		break
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSizeLimit(table)
	// The first time the fields are put into the server's table, from then on they are its entries' numbers.
	for first := true; ; first = false {
		block.Reset()
		for _, field := range append([][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", c.method}, {":authority", authority},
			{"te", "trailers"}, {"content-type", "application/grpc"}, {"user-agent", "waypost-bench"},
		}, more...) {
			encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		c.block = bytes.Clone(block.Bytes())
		if !first {
			return c.writer.Flush()
		}
		c.begin(time.Time{})
	}
}

// count says when calls count, before any is made but the greeting's.
func (c *connection) count(w window) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window = w
}

// start begins the calls of a closed loop.
func (c *connection) start(streams int) {
	now := time.Now()
	for range streams {
		c.send(now)
	}
	c.flush()
}

// send queues one call that is due at a time; it leaves with the next flush.
func (c *connection) send(due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 || !c.mayBegin() {
		c.waiting = append(c.waiting, due)
		return
	}
	c.begin(due)
}

func (c *connection) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writer.Flush(); err != nil {
		c.fail(err)
	}
}

func (c *connection) mayBegin() bool {
	return len(c.open) < c.maxStreams && c.sendWindow >= 1024
}

func (c *connection) begin(due time.Time) {
	body := c.bodies[c.draw.IntN(len(c.bodies))]
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.nextID, BlockFragment: c.block, EndHeaders: true})
	c.framer.WriteData(c.nextID, true, body)
	c.sendWindow -= len(body)
	c.open[c.nextID] = call{due: due}
	c.nextID += 2
}

// receive reads until the connection ends. It flushes only when nothing more is there to be read, so that under load
// many calls share one system call.
func (c *connection) receive() {
	defer close(c.done)
	for {
		if c.reader.Buffered() == 0 {
			c.flush()
		}
		frame, err := c.framer.ReadFrame()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			c.mu.Lock()
			c.fail(err)
			c.mu.Unlock()
			return
		}
	}
}

func (c *connection) take(frame http2.Frame) error {
	id := frame.Header().StreamID
	switch frame := frame.(type) {
	case *http2.HeadersFrame:
		if !frame.HeadersEnded() {
			return errors.New("the server's headers do not fit one frame")
		}
		c.status = ""
		if _, err := c.decode.Write(frame.HeaderBlockFragment()); err != nil {
			return err
		}
		if frame.StreamEnded() {
			return c.answered(id, c.status)
		}
	case *http2.DataFrame:
		if err := c.credit(int(frame.Header().Length)); err != nil {
			return err
		}
		// The code 1 is OK, and so is an answer of another method that came.
		code := service.RateLimitResponse_OK
		if c.method == shouldRateLimit {
			var err error
			if code, err = overallCode(frame.Data()); err != nil {
				return err
			}
		}
		c.mu.Lock()
		waiting := c.open[id]
		waiting.code, waiting.data = int32(code), true
		waiting.degraded = bytes.Contains(frame.Data(), degraded)
		c.open[id] = waiting
		c.mu.Unlock()
	case *http2.RSTStreamFrame:
		return c.answered(id, "reset: "+frame.ErrCode.String())
	default:
		return c.control(frame)
	}
	return nil
}

// control heeds a frame that belongs to no call.
func (c *connection) control(frame http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if frame.IsAck() {
			return nil
		}
		if most, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
			c.maxStreams = int(min(most, 1<<20))
		}
		return c.framer.WriteSettingsAck()
	case *http2.PingFrame:
		if frame.IsAck() {
			return nil
		}
		return c.framer.WritePing(true, frame.Data)
	case *http2.WindowUpdateFrame:
		if frame.Header().StreamID == 0 {
			c.sendWindow += int(frame.Increment)
			c.release()
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server closes the connection: %v %s", frame.ErrCode, frame.DebugData())
	}
	return nil
}

// credit lets the server send as much again as it has sent.
func (c *connection) credit(bytes int) error {
	c.received += bytes
	if c.received < receiveWindow/2 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.received = 0 }()
	return c.framer.WriteWindowUpdate(0, uint32(c.received))
}

func (c *connection) release() {
	for len(c.waiting) > 0 && c.mayBegin() {
		c.begin(c.waiting[0])
		c.waiting = c.waiting[1:]
	}
}

// answered ends a call, and in a closed loop begins the next.
func (c *connection) answered(id uint32, status string) error {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	done, ok := c.open[id]
	if !ok {
		return fmt.Errorf("an answer on stream %d, which is not open", id)
	}
	delete(c.open, id)
	first := done.due.IsZero() // the greeting's call
	counted := done.due
	if c.closed {
		counted = now
	}
	if !first && !counted.Before(c.window.from) && counted.Before(c.window.until) {
		switch {
		case status == "0" && done.data:
			c.codes[codeName(done.code)]++
			c.latencies = append(c.latencies, now.Sub(done.due))
			if done.degraded {
				c.degraded++
			}
		case status == "":
			c.errors["no status"]++
		default:
			c.errors["status "+status]++
		}
	}
	if c.closed && !first && now.Before(c.window.until) {
		c.waiting = append(c.waiting, now)
	}
	c.release()
	return nil
}

// wait waits for the answers that are outstanding; those that have not come by the deadline count as errors.
func (c *connection) wait(deadline time.Time) error {
	for {
		c.mu.Lock()
		left, failure := len(c.open)+len(c.waiting), c.failure
		if failure == nil && left > 0 && time.Now().After(deadline) {
			c.errors["unanswered"] += left
			left = 0
		}
		c.mu.Unlock()
		if failure != nil || left == 0 {
			return failure
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *connection) fail(err error) {
	if c.failure == nil {
		c.failure = err
	}
}

// close ends the connection; what was counted may be read afterwards.
func (c *connection) close() {
	c.socket.Close()
	<-c.done
}
