package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	service "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
)

const shouldRateLimit = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

// requests are the messages, one for each value, with gRPC's five bytes in front.
func requests(o options) ([][]byte, error) {
	if o.method != shouldRateLimit {
		message, err := hex.DecodeString(o.message)
		if err != nil {
			return nil, fmt.Errorf("-message: %w", err)
		}
		return [][]byte{framed(message)}, nil
	}
	bodies := make([][]byte, o.keys)
	for i := range bodies {
		request := &service.RateLimitRequest{Domain: o.domain}
		for d := range o.descriptors {
			key := o.key
			if d > 0 {
				key = fmt.Sprintf("%s-%d", o.key, d+1)
			}
			entry := &common.RateLimitDescriptor_Entry{Key: key, Value: fmt.Sprintf("value-%06d", i)}
			request.Descriptors = append(request.Descriptors, &common.RateLimitDescriptor{
				Entries: []*common.RateLimitDescriptor_Entry{entry},
			})
		}
		message, err := proto.Marshal(request)
		if err != nil {
			return nil, err
		}
		bodies[i] = framed(message)
	}
	return bodies, nil
}

func framed(message []byte) []byte {
	body := make([]byte, 5, 5+len(message))
	binary.BigEndian.PutUint32(body[1:], uint32(len(message)))
	return append(body, message...)
}

// degraded stands in a header of our rate limiter's answers that were given without Redis.
var degraded = []byte("degraded")

// overallCode reads the code of an answer as it stands in a DATA frame.
func overallCode(body []byte) (service.RateLimitResponse_Code, error) {
	if len(body) < 5 || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		return 0, fmt.Errorf("an answer of %d bytes is not one plain gRPC message", len(body))
	}
	message := body[5:]
	// Field 1, a varint, comes first; parsing the rest of each would cost more than sending the request.
	if len(message) >= 2 && message[0] == 0x08 && message[1] < 0x80 {
		return service.RateLimitResponse_Code(message[1]), nil
	}
	var response service.RateLimitResponse
	if err := proto.Unmarshal(message, &response); err != nil {
		return 0, err
	}
	return response.OverallCode, nil
}
