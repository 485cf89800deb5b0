# Answers `clock NOW LOCAL END OPENSSH`: the machine's time in seconds since 1970, the same as sshd writes it, $e as sshd writes it,
# and the version of OpenSSH, or `-`: its sshd and its ssh come and go together.
# sshd goes by the machine's zone, whatever the login's start-up files say.
unset TZ
LC_ALL=C; export LC_ALL
v=$(ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9]*\.[0-9]*\).*/\1/p')
echo "=keytool= clock $(date +%s) $(date +%Y%m%d%H%M%S) $(date -d "@$e" +%Y%m%d%H%M%S) ${v:--}"
