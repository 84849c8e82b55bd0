"""In place of ``ssh``: forwards the local port of ``-L`` to DASHBOARD_PORT on this machine."""

import os
import socket
import sys
import threading


def main() -> None:
    local = int(sys.argv[sys.argv.index("-L") + 1].split(":")[0])
    with socket.create_server(("127.0.0.1", local)) as server:
        while True:
            here, _ = server.accept()
            there = socket.create_connection(("127.0.0.1", int(os.environ["DASHBOARD_PORT"])))
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)


main()
