"""What goes over HTTP: the requests that a server takes and the answers it gives. Server and client share it."""
