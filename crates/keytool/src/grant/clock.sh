# Answers `clock NOW LOCAL END`: the machine's time in seconds since 1970, the same as sshd writes it, and $e as sshd writes it.
# sshd goes by the machine's zone, whatever the login's start-up files say.
unset TZ
LC_ALL=C; export LC_ALL
echo "=keytool= clock $(date +%s) $(date +%Y%m%d%H%M%S) $(date -d "@$e" +%Y%m%d%H%M%S)"
