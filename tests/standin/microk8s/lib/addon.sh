# What the scripts of the addons have in common. Sourced; the folder of the addon is the working folder afterwards.
set -eu
cd "$(dirname "$0")"

kubectl() {
    /usr/lib/kubernetes/bin/kubectl --kubeconfig="$SNAP_DATA/credentials/client.config" "$@"
}

# Fills {{NAME}} in the manifests of the addon from variables of this name and sends them.
manifests() { # apply|delete
    local name text
    for file in *.yaml; do
        text=$(cat "$file")
        for name in $(grep -o '{{[A-Z]*}}' "$file" | tr -d '{}' | sort -u); do
            text=$(printf '%s\n' "$text" | sed "s#{{$name}}#${!name}#g")
        done
        if [ "$1" = apply ]; then
            printf '%s\n' "$text" | kubectl apply -f -
        else
            printf '%s\n' "$text" | kubectl delete --ignore-not-found --wait=false -f -
        fi
    done
}

set_arg() { # FILE FLAG VALUE
    local file=$SNAP_DATA/args/$1
    sed -i "/^$2[= ]/d" "$file"
    [ -z "$3" ] || sed -i "1i $2=$3" "$file"
}

restart_kubelite() {
    snapctl restart microk8s.daemon-kubelite
}
