package segment

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cordwood/segment/vfs"
)

// partition.metadata beside the segments names the topic id (Z20): Kafka's "version: 0" and "topic_id: ID".

func encodeID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func decodeID(s string) (id [16]byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("id %q is no base64 uuid", s)
	}
	return [16]byte(b), nil
}

const maxMetaFile = 64 << 10

func decodePartitionFile(b []byte) (id [16]byte, err error) {
	version, text := "", ""
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "version":
			version = strings.TrimSpace(value)
		case "topic_id":
			text = strings.TrimSpace(value)
		}
	}
	if version != "0" {
		return id, fmt.Errorf("partition.metadata has version %q", version)
	}
	return decodeID(text)
}

func encodePartitionFile(id [16]byte) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", encodeID(id))
}

// writePartitionFile makes the file of a new log. Its name may be lost in a crash until the first Sync, its contents never:
// an empty one would be damage.
func (l *Log) writePartitionFile() error {
	if l.topicID == [16]byte{} {
		return nil
	}
	name := filepath.Join(l.Dir(), partitionFile)
	f, err := l.fs.Open(name+tmpSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodePartitionFile(l.topicID), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	l.dirDirty = true
	return l.fs.Rename(name+tmpSuffix, name)
}

// adoptTopicID compares the file with the id that the log was opened for; without one it adopts the file's. A damaged or
// missing file is written again when the id is known.
func (l *Log) adoptTopicID() error {
	b, err := vfs.ReadFile(l.fs, filepath.Join(l.Dir(), partitionFile), maxMetaFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var id [16]byte
	if err == nil {
		id, err = decodePartitionFile(b)
	}
	known := l.topicID != [16]byte{}
	switch {
	case err != nil && known:
		return l.writePartitionFile()
	case err != nil && errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case known && id != l.topicID:
		return fmt.Errorf("%w: %s holds topic %s, wanted %s", ErrTopicID, l.name, encodeID(id), encodeID(l.topicID))
	}
	l.topicID = id
	return nil
}

// Meta is meta.properties: whose data directory this is. ClusterID is empty, and its line missing, while a node has not
// found its cluster yet. A directory of another cluster or broker is refused by whoever
// compares (bad input 149).
type Meta struct {
	ClusterID   string
	NodeID      int32
	DirectoryID [16]byte
}

const metaFile = "meta.properties"

// ReadMeta reads DIR/meta.properties; found is false when there is none.
func ReadMeta(fsys vfs.FS, dir string) (m Meta, found bool, err error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, metaFile), maxMetaFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Meta{}, false, nil
	}
	if err == nil {
		m, err = decodeMeta(b)
	}
	if err != nil {
		return Meta{}, true, fmt.Errorf("%s: %w", filepath.Join(dir, metaFile), err)
	}
	return m, true, nil
}

func decodeMeta(b []byte) (m Meta, err error) {
	values := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return Meta{}, fmt.Errorf("line %q", line)
		}
		values[strings.TrimSpace(key)] = strings.ReplaceAll(strings.TrimSpace(value), `\=`, "=")
	}
	if v := values["version"]; v != "1" {
		return Meta{}, fmt.Errorf("version %q, only 1 is known", v)
	}
	m.ClusterID = values["cluster.id"]
	node, err := parseInt(values["node.id"], 32)
	if err != nil || node < 0 {
		return Meta{}, fmt.Errorf("node.id %q", values["node.id"])
	}
	m.NodeID = int32(node)
	if v, ok := values["directory.id"]; ok { // Kafka before 3.7 has none
		if m.DirectoryID, err = decodeID(v); err != nil {
			return Meta{}, fmt.Errorf("directory.id: %w", err)
		}
	}
	if m.ClusterID == "" && m.DirectoryID == [16]byte{} {
		return Meta{}, errors.New("neither cluster.id nor directory.id")
	}
	return m, nil
}

func (m Meta) encode() []byte {
	b := []byte("#\n")
	if m.ClusterID != "" {
		b = fmt.Appendf(b, "cluster.id=%s\n", m.ClusterID)
	}
	return fmt.Appendf(b, "directory.id=%s\nnode.id=%d\nversion=1\n", encodeID(m.DirectoryID), m.NodeID)
}

// WriteMeta replaces DIR/meta.properties, durably.
func WriteMeta(fsys vfs.FS, dir string, m Meta) error {
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, metaFile), m.encode())
}

// TopicOf reads which topic a log's directory is of.
func TopicOf(fsys vfs.FS, dir string) (id [16]byte, err error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, partitionFile), maxMetaFile)
	if err != nil {
		return id, err
	}
	return decodePartitionFile(b)
}
