package stock

import (
	"net"
	"testing"
	"time"
)

// warehouse tells of one change, and hangs up.
func warehouse(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Write([]byte("\"apple\"\n"))
			connection.Close()
		}
	}()
	return listener.Addr().String()
}

func TestNext(t *testing.T) {
	watcher, err := Watch(warehouse(t))
	if err != nil {
		t.Fatal(err)
	}
	if item, err := watcher.Next(); err != nil || item != "apple" {
		t.Fatal(item, err)
	}
	watchers = append(watchers, watcher)
}

func TestTakesItsTime(t *testing.T) {
	time.Sleep(300 * time.Millisecond)
}

// A registry that outlives the tests, as connection pools do.
var watchers []*Watcher
