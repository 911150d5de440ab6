# The rules that let the traffic of pods through. Sourced by what starts kubelite and by the remove hook.

pod_cidr() {
    sed -n 's/^--cluster-cidr=//p' "$SNAP_DATA/args/kube-proxy" | tail -1 | tr -d \"\'
}

forward_rules() { # append|remove
    local cidr program side how=--append
    cidr=$(pod_cidr)
    [ -n "$cidr" ] || return 0
    [ "$1" = remove ] && how=--delete
    local comment=(-m comment --comment 'generated for MicroK8s pods')
    # The snap brings an iptables of its own that works on the legacy tables, and asks only that one.
    if [ "$1" = append ] && iptables-legacy --check FORWARD -s "$cidr" "${comment[@]}" -j ACCEPT 2>/dev/null; then
        return 0
    fi
    for program in iptables-legacy iptables-nft; do
        for side in -s -d; do
            "$program" "$how" FORWARD "$side" "$cidr" "${comment[@]}" -j ACCEPT 2>/dev/null || true
        done
    done
}
