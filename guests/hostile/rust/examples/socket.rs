//! Looks up a name and connects a socket by itself.

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

fn act(port: &str) -> String {
    let looked_up = match resolve_addresses(&instance_network(), "localhost") {
        Ok(found) => {
            found.subscribe().block();
            format!("{:?}", found.resolve_next_address())
        }
        Err(code) => format!("{code:?}"),
    };
    let connected = match create_tcp_socket(IpAddressFamily::Ipv4) {
        Ok(socket) => {
            let to = Ipv4SocketAddress { port: port.parse().unwrap_or(80), address: (127, 0, 0, 1) };
            let begun = socket.start_connect(&instance_network(), IpSocketAddress::Ipv4(to));
            if begun.is_ok() {
                socket.subscribe().block();
            }
            match socket.finish_connect() {
                Ok(_) => "reached".to_owned(),
                Err(code) => format!("error: {code:?}"),
            }
        }
        Err(code) => format!("error: {code:?}"),
    };
    format!("lookup {looked_up}; connect {connected}")
}

hostile::stage!(act);
