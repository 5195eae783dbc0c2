# What runs inside a build of these tests. SCRIPT, if set, is what to do; else USER_PARAMS as the conformance tests say.
event() { printf '{"time":"%s","event":%s}\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)" "$1" >>"$OSBS_EVENTS"; }
line() { event "\"log\",\"logger\":\"stub\",\"level\":\"INFO\",\"message\":\"$1\""; }
hold() { trap 'line "exit plugins ran"; exit 130' TERM; line holding; while :; do sleep 0.02; done; }
if [ -n "$SCRIPT" ]; then
    eval "$SCRIPT"
    exit $?
fi
case $USER_PARAMS in
    *fail*) event '"failure","kind":"user","message":"no FROM"'; exit 1 ;;
    *hold*) hold ;;
    *) for n in 1 2 3; do line "line $n"; done ;;
esac
