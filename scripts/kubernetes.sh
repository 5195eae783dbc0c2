#!/usr/bin/env bash
# A real Kubernetes on this machine, for tests and for trying things by hand: etcd, two API servers over it, controller
# manager, scheduler, containerd and a kubelet, with a network of its own. All its processes live in one process
# namespace and all its mounts in one mount namespace, so that they end together, however that comes about.
#
# usage: scripts/kubernetes.sh install CACHE      its programs; once a CACHE (some minutes)
#        scripts/kubernetes.sh start CACHE FOLDER runs it until standard input ends or SIGTERM comes; nothing is left then
#        scripts/kubernetes.sh stop FOLDER        ends what `start` runs, and waits until it is gone
#        scripts/kubernetes.sh component FOLDER NAME stop|kill|start|restart|pause|resume|pid
#        scripts/kubernetes.sh import FOLDER ARCHIVE NAME      an OCI or docker archive becomes the node's image NAME
#        scripts/kubernetes.sh token FOLDER NAMESPACE ACCOUNT SECONDS    a service account's token that soon expires
#        scripts/kubernetes.sh kubectl FOLDER ARGUMENT...      as the administrator
#
# FOLDER/ready.json is there when the node is ready and says all that a client needs; FOLDER/log/NAME.log is what a
# component says; FOLDER/arguments/NAME its program and arguments, a line each, read again by `component NAME start`.
# NAME: etcd, apiserver, apiserver2, controller-manager, scheduler, containerd, kubelet.
#
# OSBS_K8S_LOG_MAX_SIZE (10Mi) and OSBS_K8S_LOG_MAX_FILES (5) say when the kubelet rotates a container's log;
# OSBS_K8S_FEATURE_GATES replaces the feature gates; OSBS_K8S_MAX_PODS (110).
# One runs at a time on a machine, a second `start` waits for the end of the first; but OSBS_K8S_SLOT (0 to 15, 0) gives each
# its own place, with its own network, so that several may run beside one another.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n 's/^# \(usage: .*\)/\1/p; s/^#        \(scripts.*\)/       \1/p' "$here/kubernetes.sh" >&2; exit 2; }

stop_with() {
  printf 'kubernetes: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '            %s\n' "$line" >&2; done
  exit 1
}

slot=${OSBS_K8S_SLOT:-0}
[[ $slot =~ ^([0-9]|1[0-5])$ ]] || stop_with "OSBS_K8S_SLOT is 0 to 15, not $slot"
lock=/run/lock/osbs-kubernetes-$slot
# What concerns the whole machine: changed by the first that starts, put back by the last that ends.
shared=/run/lock/osbs-kubernetes-shared
bridge=osbs-k8s-$slot
# No other network may have these, they are ours on this machine only: pods and the node, and services.
pods=10.214.$((slot * 16)).0/21
host_address=10.214.$((slot * 16)).1
services=10.214.$((slot * 16 + 8)).0/24
service_address=10.214.$((slot * 16 + 8)).1
control_group=osbs-kubernetes-$slot
node=osbs-node
# Set for the whole machine by kubelet, hence put back.
settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes net/ipv4/ip_forward)
# Where components have fixed places on the machine, a folder of ours is mounted in their sight.
places=(/var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers)

ports() { # ports ADDRESS COUNT: free ones
  python3 - "$1" "$2" <<'P'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[2]))]
for one in held:
    one.bind((sys.argv[1], 0))
print(*(one.getsockname()[1] for one in held))
P
}

certificate() { # certificate NAME SUBJECT EXTENSIONS: signed by our authority
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(printf '%s\n' "$3")
  rm "$1.csr"
}

kubeconfig() { # kubeconfig FILE SERVER NAME
  cat >"$1" <<K
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "$2", certificate-authority: $folder/pki/ca.crt}}]
users: [{name: test, user: {client-certificate: $folder/pki/$3.crt, client-key: $folder/pki/$3.key}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
K
}

arguments() { # arguments NAME PROGRAM ARGUMENT...
  local name=$1
  shift
  printf '%s\n' "$@" >"$folder/arguments/$name"
}

write_certificates() (
  mkdir -p "$folder/pki"
  cd "$folder/pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=osbs-test-authority -keyout ca.key -out ca.crt
  local client='extendedKeyUsage=clientAuth'
  certificate server /CN=kube-apiserver "$(printf '%s\n' extendedKeyUsage=serverAuth "subjectAltName=IP:127.0.0.1,IP:$host_address,IP:$service_address,DNS:localhost,DNS:$node,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local")"
  certificate admin /O=system:masters/CN=admin "$client"
  certificate node "/O=system:masters/CN=system:node:$node" "$(printf '%s\n' extendedKeyUsage=serverAuth,clientAuth "subjectAltName=IP:$host_address,DNS:$node")"
  local name
  for name in kube-controller-manager kube-scheduler kube-apiserver-kubelet-client; do
    certificate "$name" "/O=system:masters/CN=system:$name" "$client"
  done
  openssl genrsa -out service-account.key 2048
  openssl rsa -in service-account.key -pubout -out service-account.pub
) >"$folder/log/openssl.log" 2>&1

write_configuration() {
  local gates=${OSBS_K8S_FEATURE_GATES-TTLAfterFinished=true,ProcMountType=true} gate
  local etcd etcd_peer api api2 controller scheduler kubelet_port
  read -r etcd etcd_peer controller scheduler < <(ports 127.0.0.1 4)
  read -r api api2 kubelet_port < <(ports "$host_address" 3)
  server=https://$host_address:$api
  server2=https://$host_address:$api2
  etcd_server=http://127.0.0.1:$etcd
  token=$(openssl rand -hex 16)
  (umask 077 && printf '%s,admin,admin,"system:masters"\n' "$token" >"$folder/pki/tokens.csv")
  kubeconfig "$folder/admin.kubeconfig" "$server" admin
  kubeconfig "$folder/admin2.kubeconfig" "$server2" admin
  kubeconfig "$folder/kubelet.kubeconfig" "$server" node
  kubeconfig "$folder/controller-manager.kubeconfig" "$server" kube-controller-manager
  kubeconfig "$folder/scheduler.kubeconfig" "$server" kube-scheduler

  arguments etcd /usr/bin/etcd --name=test "--data-dir=$folder/data/etcd" \
    "--listen-client-urls=$etcd_server" "--advertise-client-urls=$etcd_server" "--listen-peer-urls=http://127.0.0.1:$etcd_peer" \
    "--initial-advertise-peer-urls=http://127.0.0.1:$etcd_peer" "--initial-cluster=test=http://127.0.0.1:$etcd_peer"
  # What clients ask, to be counted; without the components' own chatter.
  cat >"$folder/audit-policy.yaml" <<'A'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:node:osbs-node", "system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"]
- level: None
  nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"]
- level: Metadata
A
  local name port further
  for name in apiserver apiserver2; do
    port=$api further=
    # Only one keeps the endpoints of the service: both have the same address.
    [ "$name" = apiserver ] || { port=$api2; further=--endpoint-reconciler-type=none; }
    arguments "$name" "$home/kube-apiserver" "--bind-address=$host_address" "--advertise-address=$host_address" \
      "--secure-port=$port" --insecure-port=0 "--etcd-servers=$etcd_server" "--service-cluster-ip-range=$services" \
      "--tls-cert-file=$folder/pki/server.crt" "--tls-private-key-file=$folder/pki/server.key" \
      "--client-ca-file=$folder/pki/ca.crt" "--token-auth-file=$folder/pki/tokens.csv" --authorization-mode=RBAC \
      --service-account-issuer=https://kubernetes.default.svc "--service-account-signing-key-file=$folder/pki/service-account.key" \
      "--service-account-key-file=$folder/pki/service-account.pub" --allow-privileged=true \
      --kubelet-preferred-address-types=InternalIP "--kubelet-certificate-authority=$folder/pki/ca.crt" \
      "--kubelet-client-certificate=$folder/pki/kube-apiserver-kubelet-client.crt" \
      "--kubelet-client-key=$folder/pki/kube-apiserver-kubelet-client.key" "--audit-policy-file=$folder/audit-policy.yaml" \
      "--audit-log-path=$folder/log/$name-audit.log" ${gates:+"--feature-gates=$gates"} $further
  done
  arguments controller-manager "$home/kube-controller-manager" "--kubeconfig=$folder/controller-manager.kubeconfig" \
    --leader-elect=false --bind-address=127.0.0.1 "--secure-port=$controller" --port=0 "--cert-dir=$folder/data/controller-manager" \
    "--root-ca-file=$folder/pki/ca.crt" "--service-account-private-key-file=$folder/pki/service-account.key" \
    "--cluster-signing-cert-file=$folder/pki/ca.crt" "--cluster-signing-key-file=$folder/pki/ca.key" \
    "--flex-volume-plugin-dir=$folder/data/flexvolume" ${gates:+"--feature-gates=$gates"}
  arguments scheduler "$home/kube-scheduler" "--kubeconfig=$folder/scheduler.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 "--secure-port=$scheduler" --port=0 "--cert-dir=$folder/data/scheduler" ${gates:+"--feature-gates=$gates"}
  arguments service-address /usr/bin/socat "TCP-LISTEN:443,bind=$service_address,fork,reuseaddr,backlog=128" "TCP:$host_address:$api"

  mkdir -p "$folder/cni" "$folder/manifests"
  cat >"$folder/cni/10-test.conflist" <<C
{"cniVersion": "0.4.0", "name": "osbs-test", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": false, "ipMasq": false, "mtu": 1500,
   "ipam": {"type": "host-local", "dataDir": "/var/lib/cni/networks",
            "ranges": [[{"subnet": "$pods", "gateway": "$host_address"}]], "routes": [{"dst": "0.0.0.0/0", "gw": "$host_address"}]}}]}
C
  cat >"$folder/containerd.toml" <<C
version = 2
root = "$folder/data/containerd"
state = "/run/containerd"
# Nothing on the node may be killed for it, and a container around this machine may forbid it.
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/osbs-test/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$folder/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
C
  arguments containerd /usr/bin/containerd --config "$folder/containerd.toml"
  { grep '^nameserver' /etc/resolv.conf || true; } >"$folder/resolv.conf"
  cat >"$folder/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $host_address
port: $kubelet_port
readOnlyPort: 0
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $folder/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $folder/pki/node.crt
tlsPrivateKeyFile: $folder/pki/node.key
cgroupDriver: cgroupfs
cgroupRoot: /$control_group
oomScoreAdj: 0
failSwapOn: false
makeIPTablesUtilChains: false
staticPodPath: $folder/manifests
clusterDNS: [$host_address]
clusterDomain: cluster.local
resolvConf: $folder/resolv.conf
volumePluginDir: $folder/data/flexvolume
# Else the node is seen to be ready ten seconds after it is; sent only when something changed.
nodeStatusUpdateFrequency: 1s
nodeStatusReportFrequency: 5m
# A Secret that is replaced is seen by the pods that mount it within that time.
syncFrequency: 10s
maxPods: ${OSBS_K8S_MAX_PODS:-110}
containerLogMaxSize: ${OSBS_K8S_LOG_MAX_SIZE:-10Mi}
containerLogMaxFiles: ${OSBS_K8S_LOG_MAX_FILES:-5}
# A full disk of this machine is no concern of the node.
evictionHard: {memory.available: 100Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
enforceNodeAllocatable: [pods]
# As newer kubelets have it: with 5 a second, a pod of some requests is seen a minute late when many start together.
kubeAPIQPS: 50
kubeAPIBurst: 100
registryPullQPS: 0
eventRecordQPS: 0
serializeImagePulls: false
featureGates: {$(for gate in ${gates//,/ }; do printf '%s: %s, ' "${gate%=*}" "${gate#*=}"; done)}
K
  arguments kubelet "$home/kubelet" "--config=$folder/kubelet.yaml" "--kubeconfig=$folder/kubelet.kubeconfig" \
    "--hostname-override=$node" "--node-ip=$host_address" --container-runtime=remote \
    "--container-runtime-endpoint=unix://$folder/containerd.sock" --root-dir=/var/lib/kubelet "--cert-dir=$folder/data/kubelet-certificates"
  cat >"$folder/ready.json.new" <<R
{
  "server": "$server",
  "server2": "$server2",
  "ca_file": "$folder/pki/ca.crt",
  "ca_key_file": "$folder/pki/ca.key",
  "token": "$token",
  "token_file": "$folder/pki/tokens.csv",
  "client_certificate_file": "$folder/pki/admin.crt",
  "client_key_file": "$folder/pki/admin.key",
  "service_account_key_file": "$folder/pki/service-account.key",
  "kubeconfig": "$folder/admin.kubeconfig",
  "kubeconfig2": "$folder/admin2.kubeconfig",
  "kubectl": "$home/kubectl",
  "etcd_server": "$etcd_server",
  "containerd_socket": "$folder/containerd.sock",
  "containerd_namespace": "k8s.io",
  "node": "$node",
  "host_address": "$host_address",
  "service_address": "$service_address",
  "busybox_image": "localhost/osbs-test/busybox:1",
  "kubelet_folder": "$folder/data/places/var/lib/kubelet",
  "pod_logs": "$folder/data/places/var/log/pods",
  "audit_logs": ["$folder/log/apiserver-audit.log", "$folder/log/apiserver2-audit.log"],
  "logs": "$folder/log",
  "arguments": "$folder/arguments"
}
R
}

control_groups() { # each hierarchy's root where kubelet makes groups
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo /sys/fs/cgroup
  else
    awk '$3 == "cgroup" {print $2}' /proc/self/mounts
  fi
}

make_control_groups() {
  local root file
  while read -r root; do
    # One hierarchy for all: what kubelet wants has to be handed down.
    for file in cpuset cpu memory pids io; do
      [ ! -e "$root/cgroup.controllers" ] || echo "+$file" 2>/dev/null >"$root/cgroup.subtree_control" || true
    done
    mkdir -p "$root/$control_group"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$root/$file" ] || [ -e "$root/cgroup.controllers" ] || cat "$root/$file" >"$root/$control_group/$file"
    done
  done < <(control_groups)
}

remove_control_groups() {
  local tries left
  for tries in $(seq 200); do
    left=$(find /sys/fs/cgroup -depth -type d \( -path "/sys/fs/cgroup/*$control_group" -o -path "/sys/fs/cgroup/*$control_group/*" \) 2>/dev/null || true)
    [ -n "$left" ] || return 0
    xargs -r rmdir 2>/dev/null <<<"$left" || true
    sleep 0.1
  done
  echo "kubernetes: control groups are left: $left" >&2
}

# Everything that `start` made, as the lock file has it: this run's or that of one that was killed.
clean_up() {
  [ -s "$lock" ] || return 0
  local tries left
  ip link delete "$bridge" 2>/dev/null || true
  remove_control_groups
  left=$(cat "$lock")
  rm -rf --one-file-system "${left:?}"/{data,containerd.sock,containerd.sock.ttrpc,ready.json,ready.json.new,inside.pid,supervisor.pid} || true
  # The network namespaces of the pods end a little after their last process.
  for tries in $(seq 100); do
    ip -o link show type veth 2>/dev/null | grep -qF "master $bridge" || break
    sleep 0.1
  done
  : >"$lock"
}

restore_machine() { # what the shared file has
  local what rest value
  while read -r what rest value; do
    case $what in
      setting) echo "$value" 2>/dev/null >"/proc/sys/$rest" || true ;;
      made) rmdir "$rest" 2>/dev/null || true ;;
    esac
  done < <(tac "$shared")
  : >"$shared"
}

# A user of the machine holds a shared lock on it, for as long as it lives.
enter_machine() {
  local line
  exec 6>>"$shared" 8>>"$shared-users"
  flock 6
  if flock -n -x 8; then
    restore_machine
    for line in "${settings[@]}"; do
      [ ! -e "/proc/sys/$line" ] || echo "setting $line $(cat "/proc/sys/$line")" >>"$shared"
    done
    for line in "${places[@]}"; do
      [ -d "$line" ] || { echo "made $line" >>"$shared"; mkdir -p "$line"; }
    done
  fi
  flock -s 8
  exec 6>&-
}

leave_machine() {
  exec 6>>"$shared"
  flock 6
  ! flock -n -x 8 || restore_machine
  exec 6>&- 8>&-
}

start() {
  home=$("$here/kubernetes-install.sh" "$cache")
  [ "$(id -u)" = 0 ] || stop_with 'only root can start it'
  [ ${#folder} -lt 80 ] || stop_with "the path is too long for sockets: $folder"
  mkdir -p "$(dirname "$lock")"
  echo $$ >"$folder/supervisor.pid"
  exec 9>>"$lock"
  flock -n 9 || { echo 'kubernetes: waiting for the end of another on this machine' >&2; flock 9; }
  clean_up
  echo $$ >"$folder/supervisor.pid"
  trap clean_up EXIT
  trap 'exit 0' INT TERM HUP
  rm -rf "${folder:?}"/{data,log,arguments,pids}
  mkdir -p "$folder"/{data,log,arguments,pids}
  local line
  echo "$folder" >"$lock"
  enter_machine
  trap 'clean_up; leave_machine' EXIT
  for line in "${places[@]}"; do mkdir -p "$folder/data/places$line"; done
  make_control_groups
  # An address of its own: one that a bridge borrows from its ports changes when pods come and go, and those that stay send
  # into the void until they ask for it again.
  ip link add "$bridge" address "$(printf '02:00:%02x:%02x:%02x:%02x' ${host_address//./ })" type bridge
  ip address add "$host_address/${pods#*/}" dev "$bridge"
  ip address add "$service_address/32" dev "$bridge"
  ip link set "$bridge" up
  write_certificates
  write_configuration
  # The first process of the namespace gets our standard input, and all others die with it. If we die, so does it.
  local inner first= stopped=
  exec 7<&0
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$folder/data" LC_ALL=C.UTF-8 TZ=UTC \
    bash "$here/kubernetes-inside.sh" run "$folder" "$home" "${places[@]}" <&7 9>&- 8>&- 7<&- &
  inner=$!
  exec 7<&-
  trap 'stopped=yes; kill -KILL $inner 2>/dev/null || true' INT TERM HUP
  # The namespace's first process, in our sight: nsenter needs it.
  for line in $(seq 300); do
    read -r first <"/proc/$inner/task/$inner/children" 2>/dev/null || true
    [ -z "$first" ] || break
    kill -0 "$inner" 2>/dev/null || break
    sleep 0.02
  done
  echo "$first" >"$folder/inside.pid"
  local result=0
  wait "$inner" || result=$?
  # Cut short by a signal: the namespace is still ending.
  wait "$inner" 2>/dev/null || true
  while [ -n "$first" ] && kill -0 "$first" 2>/dev/null; do sleep 0.05; done
  [ -z "$stopped" ] || result=0
  exit $result
}

inside() { # inside COMMAND...: in the cluster's namespaces
  local first
  first=$(cat "$folder/inside.pid" 2>/dev/null) || stop_with "nothing runs in $folder"
  nsenter --target "$first" --mount --pid -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME="$folder/data" LC_ALL=C.UTF-8 TZ=UTC "$@" </dev/null
}

component() { # component NAME ACTION
  [ -e "$folder/arguments/$1" ] || stop_with "there is no component $1"
  local pid
  pid=$(cat "$folder/pids/$1" 2>/dev/null || true)
  case $2 in
    pid)
      # The process id in our sight is the one whose last id, in the innermost namespace, is the known one.
      local first mine space
      first=$(cat "$folder/inside.pid")
      space=$(readlink "/proc/$first/ns/pid_for_children")
      for mine in /proc/[0-9]*; do
        [ "$(readlink "$mine/ns/pid" 2>/dev/null)" = "$space" ] || continue
        [ "$(awk '/^NSpid:/{print $NF}' "$mine/status" 2>/dev/null)" != "$pid" ] || { echo "${mine#/proc/}"; return; }
      done
      stop_with "$1 is not running"
      ;;
    pause) inside kill -STOP "$pid" ;;
    resume) inside kill -CONT "$pid" ;;
    *) inside bash "$here/kubernetes-inside.sh" "$2" "$folder" "$1" ;;
  esac
}

import() { # import ARCHIVE NAME
  local archive=$1 name=$2 named
  local tries
  # An archive that brings this very name itself must not get it a second time: the name would go from the list of images to
  # the image in it, and containerd clears the list away while it is still being unpacked.
  named=$(tar -xOf "$archive" manifest.json 2>/dev/null | jq --arg name "$name" 'any(.[].RepoTags[]?; . == $name)' || true)
  [ "$named" = true ] && named=() || named=(--index-name "$name")
  ctr --address "$folder/containerd.sock" --namespace k8s.io images import "${named[@]}" "$archive" >"$folder/log/import.log" 2>&1 || {
    tail -n 5 "$folder/log/import.log" >&2
    stop_with "$archive cannot be imported; what containerd says is above"
  }
  # The part that kubelet asks learns of it by an event.
  for tries in $(seq 600); do
    ctr --address "$folder/containerd.sock" --namespace k8s.io images list "name==$name" | grep -q 'io.cri-containerd.image=managed' && return
    sleep 0.1
  done
  stop_with "$name was imported, but kubelet does not see it"
}

# Signed as the API server signs one; its own shortest takes ten minutes.
token() { # token NAMESPACE ACCOUNT SECONDS
  local uid
  uid=$(kubectl get serviceaccount --namespace "$1" "$2" --output 'jsonpath={.metadata.uid}')
  python3 - "$folder/pki/service-account.key" "$1" "$2" "$uid" "$3" <<'P'
import base64, json, subprocess, sys, time
key, namespace, account, uid, seconds = sys.argv[1:]
def encode(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")
now = int(time.time())
# The API server takes a token for a minute longer than it says.
claims = {"iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"], "iat": now - 60, "nbf": now - 60,
          "exp": now + int(seconds) - 60, "sub": f"system:serviceaccount:{namespace}:{account}",
          "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}}}
signed = encode(json.dumps({"alg": "RS256"}).encode()) + b"." + encode(json.dumps(claims).encode())
signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed, capture_output=True, check=True).stdout
print((signed + b"." + encode(signature)).decode())
P
}

kubectl() {
  local program
  program=$(sed -n 's/^  "kubectl": "\(.*\)",$/\1/p' "$folder/ready.json")
  "$program" --kubeconfig "$folder/admin.kubeconfig" "$@"
}

action=${1:-}
[ $# -ge 2 ] || usage
shift
case $action in
  install) "$here/kubernetes-install.sh" "$1" >/dev/null; exit ;;
  start)
    [ $# = 2 ] || usage
    cache=$1
    mkdir -p "$2"
    shift
    ;;
esac
folder=$(cd "$1" && pwd -P)
shift
case $action in
  start) start ;;
  stop)
    pid=$(cat "$folder/supervisor.pid" 2>/dev/null) || exit 0
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    ;;
  component) [ $# = 2 ] || usage; component "$@" ;;
  import) [ $# = 2 ] || usage; import "$@" ;;
  token) [ $# = 3 ] || usage; token "$@" ;;
  kubectl) kubectl "$@" ;;
  *) usage ;;
esac
