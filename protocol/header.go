package protocol

import "github.com/twmb/franz-go/pkg/kmsg"

type Header struct {
	API           *API
	Key, Version  int16
	CorrelationID int32
	ClientID      []byte
	ClientIDNull  bool
	Flexible      bool
}

func ParseHeader(frame []byte, h *Header) (body []byte, err error)                  { return nil, nil }
func AppendResponseHeader(dst []byte, key, version int16, correlation int32) []byte { return dst }
func AppendResponse(dst []byte, h *Header, r kmsg.Response) []byte                  { return dst }
func AppendOwnResponse(dst []byte, h *Header, body []byte) []byte                   { return dst }
func Decode(h *Header, body []byte) (kmsg.Request, error)                           { return nil, nil }
func Guard(key, version int16, body []byte) error                                   { return nil }
