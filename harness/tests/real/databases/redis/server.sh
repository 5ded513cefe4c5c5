# server.sh serve SOCKET: the server. server.sh run COMMAND: starts it, runs the command, stops it.
serve() {
    exec redis-server --port 0 --unixsocket "$1" --appendonly yes --appendfsync always --save '' --dir .
}
case $1 in
serve) serve "$2" ;;
run)
    socket=$(mktemp -u)
    serve "$socket" >/dev/null &
    until redis-cli -s "$socket" ping 2>/dev/null | grep -q PONG; do
        kill -0 $! 2>/dev/null || exit 1
        sleep 0.01
    done
    redis-cli -s "$socket" $2
    kill $!
    wait $!
    ;;
esac
