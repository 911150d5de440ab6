# Makes the authority, the certificates and the credentials of a new cluster. Sourced by the install hooks.

certificate() { # NAME SUBJECT [EXTENSIONS]
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
        -keyout "$certs/$1.key" -out "$certs/$1.csr" 2>/dev/null
    printf '%s\n' subjectKeyIdentifier=hash authorityKeyIdentifier=keyid "${3:-extendedKeyUsage=clientAuth}" >"$certs/$1.ext"
    openssl x509 -req -in "$certs/$1.csr" -CA "$certs/ca.crt" -CAkey "$certs/ca.key" -CAcreateserial -days 3650 \
        -extfile "$certs/$1.ext" -out "$certs/$1.crt" 2>/dev/null
    rm "$certs/$1.csr" "$certs/$1.ext"
}

credentials() { # FILE CERTIFICATE USER
    cat >"$SNAP_DATA/credentials/$1" <<END
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(base64 -w0 "$certs/ca.crt")
    server: https://127.0.0.1:16443
  name: microk8s-cluster
contexts:
- context:
    cluster: microk8s-cluster
    user: $3
  name: microk8s
current-context: microk8s
kind: Config
preferences: {}
users:
- name: $3
  user:
    client-certificate-data: $(base64 -w0 "$certs/$2.crt")
    client-key-data: $(base64 -w0 "$certs/$2.key")
END
}

make_cluster() {
    certs=$SNAP_DATA/certs
    mkdir -p "$certs" "$SNAP_DATA/credentials"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=10.152.183.1 -days 3650 \
        -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$certs/ca.key" -out "$certs/ca.crt" 2>/dev/null
    openssl genrsa -out "$certs/serviceaccount.key" 2048 2>/dev/null
    certificate server /CN=127.0.0.1 'subjectAltName=DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.152.183.1'
    certificate client /O=system:masters/CN=admin
    certificate controller /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate kubelet "/O=system:nodes/CN=system:node:$(hostname)"
    for name in client controller scheduler proxy kubelet; do
        user=$name
        [ "$name" = client ] && user=admin
        credentials "$name.config" "$name" "$user"
    done
    chmod 0660 "$SNAP_DATA"/credentials/*
}
