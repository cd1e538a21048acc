package metadata

import "errors"

// EncodeChanges, DecodeChanges, EncodeImage and DecodeImage.
func EncodeChanges(changes []Change) ([]byte, error) { return nil, errors.New("metadata: not yet") }
func DecodeChanges(b []byte) ([]Change, error)       { return nil, errors.New("metadata: not yet") }
func EncodeImage(i *Image) ([]byte, error)           { return nil, errors.New("metadata: not yet") }
func DecodeImage(b []byte) (*Image, error)           { return nil, errors.New("metadata: not yet") }
