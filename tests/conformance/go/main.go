// Calls two hot ports as a program for Go would, by Go's own gRPC, and ends with 1 at the first thing that is not as it
// must be.
//
//	client LIMITER ECHO
//
// LIMITER is the address of a rate limiter that has the domain "conformance" with a limit of 3 a year for each value of
// "address", ECHO that of `python -m tests.support.echo_server`. Both are of hot ports.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	ratelimitpb "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	connections = 8
	callers     = 25 // of each connection
	calls       = 10_000
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: client LIMITER ECHO")
		os.Exit(2)
	}
	limiter, echo := dial(os.Args[1]), dial(os.Args[2])
	for _, check := range []struct {
		name string
		run  func() error
	}{
		{"ShouldRateLimit", func() error { return limits(limiter) }},
		{"health", func() error { return health(limiter) }},
		{"an error with details", func() error { return details(echo) }},
		{"metadata", func() error { return metadataBothWays(echo) }},
		{"a deadline", func() error { return deadline(echo) }},
		{"a cancellation", func() error { return cancellation(echo) }},
		{"messages of many frames", func() error { return largeMessages(echo) }},
		{fmt.Sprintf("%d calls over %d connections", calls, connections), func() error { return many(os.Args[1], os.Args[2]) }},
		{"keepalive pings", func() error { return pings(os.Args[2]) }},
	} {
		if err := check.run(); err != nil {
			fmt.Fprintf(os.Stderr, "go: %s: %v\n", check.name, err)
			os.Exit(1)
		}
		fmt.Printf("go: %s: as it should be\n", check.name)
	}
}

// Bytes as they are: what is said to the echo needs no generated code.
type raw struct{}

func (raw) Name() string                       { return "proto" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

const getLink = "/waypost.api.v1.LinkService/GetLink"

// A request for a link with this code.
func link(code string) []byte {
	size := len(code)
	head := []byte{0x0a}
	for ; size >= 0x80; size >>= 7 {
		head = append(head, byte(size)|0x80)
	}
	return append(append(head, byte(size)), code...)
}

func ask(ctx context.Context, conn *grpc.ClientConn, code string, options ...grpc.CallOption) ([]byte, error) {
	request, answer := link(code), []byte(nil)
	err := conn.Invoke(ctx, getLink, &request, &answer, append(options, grpc.ForceCodec(raw{}))...)
	return answer, err
}

func dial(address string, options ...grpc.DialOption) *grpc.ClientConn {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		panic(err)
	}
	return conn
}

func soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func about(address string) *pb.RateLimitRequest {
	entries := []*ratelimitpb.RateLimitDescriptor_Entry{{Key: "address", Value: address}}
	return &pb.RateLimitRequest{Domain: "conformance", Descriptors: []*ratelimitpb.RateLimitDescriptor{{Entries: entries}}}
}

func limits(conn *grpc.ClientConn) error {
	client := pb.NewRateLimitServiceClient(conn)
	for remaining := 2; remaining >= -1; remaining-- {
		answer, err := client.ShouldRateLimit(soon(), about("go"))
		if err != nil {
			return err
		}
		want := pb.RateLimitResponse_OK
		if remaining < 0 {
			want = pb.RateLimitResponse_OVER_LIMIT
		}
		if answer.OverallCode != want || int(answer.Statuses[0].LimitRemaining) != max(remaining, 0) {
			return fmt.Errorf("answered %v, want %v with %d remaining", answer, want, max(remaining, 0))
		}
	}
	_, err := client.ShouldRateLimit(soon(), &pb.RateLimitRequest{})
	return refused(err, codes.InvalidArgument, "rate limit domain must not be empty")
}

func health(conn *grpc.ClientConn) error {
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(soon(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("answered %v", answer)
	}
	return err
}

func refused(err error, code codes.Code, message string) error {
	if got := status.Convert(err); got.Code() != code || got.Message() != message {
		return fmt.Errorf("ended with %v, want %v: %s", err, code, message)
	}
	return nil
}

func details(conn *grpc.ClientConn) error {
	_, err := ask(soon(), conn, "missing")
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Metadata["short_code"] == "é % 中文" {
			return refused(err, codes.NotFound, "no link has the short code 'é % 中文'")
		}
	}
	return fmt.Errorf("%v brings %v", err, status.Convert(err).Details())
}

func metadataBothWays(conn *grpc.ClientConn) error {
	sent := metadata.Pairs("x-echo", "one", "x-echo", "two", "x-echo-bin", "\x00\xff", "x-echo-bin", "", "x-echo-none", "")
	for _, code := range []string{"abc", "missing"} {
		var header, trailer metadata.MD
		_, err := ask(metadata.NewOutgoingContext(soon(), sent), conn, code, grpc.Header(&header), grpc.Trailer(&trailer))
		if code == "abc" && err != nil {
			return err
		}
		for name, values := range sent {
			if code == "abc" && !slices.Equal(header[name], values) {
				return fmt.Errorf("%s: before the answer came %q, want %q", name, header[name], values)
			}
			if !slices.Equal(trailer[name], values) {
				return fmt.Errorf("%s: after %q came %q, want %q", name, code, trailer[name], values)
			}
		}
	}
	return nil
}

func deadline(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := ask(ctx, conn, "held")
	if status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("ended with %v", err)
	}
	_, err = ask(soon(), conn, "abc")
	return err
}

func cancellation(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, err := ask(ctx, conn, "held")
	if status.Code(err) != codes.Canceled {
		return fmt.Errorf("ended with %v", err)
	}
	_, err = ask(soon(), conn, "abc")
	return err
}

func largeMessages(conn *grpc.ClientConn) error {
	// With its tag and length the largest that is taken.
	code := string(bytes.Repeat([]byte("x"), 65_536-4))
	answer, err := ask(soon(), conn, code)
	if err == nil && !bytes.Contains(answer, []byte(code)) {
		err = fmt.Errorf("%d bytes were answered", len(answer))
	}
	if err != nil {
		return err
	}
	_, err = ask(soon(), conn, code+"x")
	if status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("one byte more ended with %v", err)
	}
	return nil
}

func many(limiter, echo string) error {
	var group sync.WaitGroup
	failures := make(chan error, connections*callers)
	for c := range connections {
		address := []string{echo, limiter}[c%2]
		conn := dial(address)
		defer conn.Close()
		for caller := range callers {
			group.Add(1)
			go func() {
				defer group.Done()
				for n := range calls / connections / callers {
					if err := one(conn, address == echo, strconv.Itoa(c*1_000_000+caller*1_000+n)); err != nil {
						failures <- err
						return
					}
				}
			}()
		}
	}
	group.Wait()
	close(failures)
	return <-failures
}

// A call, whose answer must be its own.
func one(conn *grpc.ClientConn, echo bool, name string) error {
	if echo {
		answer, err := ask(soon(), conn, name)
		if err == nil && !bytes.HasPrefix(answer, link(name)) {
			err = fmt.Errorf("%s was answered with %q", name, answer)
		}
		return err
	}
	answer, err := pb.NewRateLimitServiceClient(conn).ShouldRateLimit(soon(), about(name))
	if err == nil && answer.OverallCode != pb.RateLimitResponse_OK {
		err = fmt.Errorf("%s was answered with %v", name, answer)
	}
	return err
}

// Go closes a connection whose pings are not answered in time, and is sent away (ENHANCE_YOUR_CALM) where it pings too
// often: either would end it within that time.
func pings(address string) error {
	conn := dial(address, grpc.WithKeepaliveParams(keepalive.ClientParameters{
		Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
	}))
	defer conn.Close()
	if _, err := ask(soon(), conn, "abc"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if conn.WaitForStateChange(ctx, connectivity.Ready) {
		return fmt.Errorf("the connection is %v", conn.GetState())
	}
	_, err := ask(soon(), conn, "abc")
	return err
}
