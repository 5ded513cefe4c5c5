# server.sh serve PORT: the server. server.sh put|get PORT …: waits for it, and asks it. server.sh run …: starts it, asks, stops it.
export ETCDCTL_API=3
serve() {
    exec etcd --name n --data-dir d --listen-client-urls "http://127.0.0.1:$1" --advertise-client-urls "http://127.0.0.1:$1" \
        --listen-peer-urls "http://127.0.0.1:$(($1 + 1))" --initial-advertise-peer-urls http://localhost:1 \
        --initial-cluster n=http://localhost:1 --log-level error
}
ask() {
    port=$1
    shift
    until etcdctl --endpoints "127.0.0.1:$port" --dial-timeout 1s endpoint health >/dev/null 2>&1; do sleep 0.05; done
    etcdctl --endpoints "127.0.0.1:$port" "$@"
}
case $1 in
serve) serve "$2" ;;
ask)
    shift
    ask "$@"
    ;;
run)
    shift
    # Several run at once.
    port=$((20000 + $$ * 2 % 40000))
    serve "$port" >/dev/null 2>&1 &
    server=$!
    (sleep 8; kill -9 $server) 2>/dev/null &
    ask "$port" "$@"
    kill $server
    wait $server
    kill $!
    ;;
esac
