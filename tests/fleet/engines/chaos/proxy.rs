//! A proxy for TCP connections, in the place of the address that moves to a promoted replica.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A listener on a port of its own. It serves until the process ends.
pub(super) struct Proxy {
    pub(super) port: u16,
    routes: Arc<Mutex<Routes>>,
}

struct Routes {
    target: u16,
    /// The connections of clients to the target.
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(super) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Arc::new(Mutex::new(Routes { target, open: Vec::new() }));
        let proxy = Self { port, routes: Arc::clone(&routes) };
        thread::spawn(move || {
            for client in listener.incoming() {
                // A client that meets no server finds its connection closed.
                let _ = client.and_then(|client| forward(client, &routes));
            }
        });
        proxy
    }

    /// Ends all connections, and connects new ones to another server.
    pub(super) fn connect_to(&self, target: u16) {
        let mut routes = self.routes.lock().unwrap();
        routes.target = target;
        for connection in routes.open.drain(..) {
            // The peer may have ended it.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Connects a client to the present target.
fn forward(client: TcpStream, routes: &Mutex<Routes>) -> io::Result<()> {
    // Under the lock, so that no connection to an old target is made after the change.
    let mut routes = routes.lock().unwrap();
    let server = TcpStream::connect(("127.0.0.1", routes.target))?;
    for (from, to) in [(&client, &server), (&server, &client)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            // The end of one direction is the end of both, as if the client were connected to the server.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    // What has ended is forgotten here, so that a long run keeps few.
    routes.open.retain(|connection| connection.peer_addr().is_ok());
    routes.open.extend([client, server]);
    Ok(())
}
