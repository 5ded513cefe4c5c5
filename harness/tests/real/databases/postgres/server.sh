# server.sh begin: makes a cluster with one row. serve SOCKETS: the server. ask SOCKETS SQL. look: starts it, and shows all rows.
PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -1)
serve() {
    mkdir -p "$1"
    exec postgres -D d -k "$1" -c listen_addresses= -c autovacuum=off -c max_wal_size=64MB 2>&1
}
ask() { psql -h "$1" -d postgres -q -A -t -c "$2" && case $2 in insert*) echo INSERT ;; esac; }
local_server() {
    sockets=$(mktemp -d)
    serve "$sockets" >/dev/null &
    until psql -h "$sockets" -d postgres -q -c '' 2>/dev/null; do
        kill -0 $! 2>/dev/null || exit 1
        sleep 0.02
    done
}
case $1 in
begin)
    initdb -D d -A trust --wal-segsize=1 >/dev/null
    local_server
    ask "$sockets" 'create table t (a int); insert into t values (1)'
    kill -INT $!
    wait $!
    ;;
serve) serve "$2" ;;
ask) ask "$2" "$3" ;;
look)
    local_server
    psql -h "$sockets" -d postgres -q -A -t -c 'select a from t order by a'
    kill -QUIT $!
    wait $!
    rm -rf "$sockets"
    ;;
esac
true
