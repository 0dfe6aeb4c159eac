// Package stock asks a warehouse's HTTP service.
package stock

import (
	"encoding/json"
	"net"
	"time"
)

// Watcher hears of changes in a warehouse.
type Watcher struct {
	connection net.Conn
}

// Watch connects to a warehouse.
func Watch(address string) (*Watcher, error) {
	connection, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &Watcher{connection}, nil
}

// Next waits for a change.
func (w *Watcher) Next() (item string, err error) {
	err = json.NewDecoder(w.connection).Decode(&item)
	return item, err
}

// Close gives the connection back.
func (w *Watcher) Close() error {
	return w.connection.Close()
}
