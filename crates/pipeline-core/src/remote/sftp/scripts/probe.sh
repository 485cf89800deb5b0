a=
can() { "$@" > /dev/null 2>&1; }
cd "$r" 2> /dev/null || cd /
case $(stat -c %.9Y . 2> /dev/null) in
  *.?????????) a="$a stat=gnu" ;;
  *) case $(stat -c '%Y %Z %y %z' . 2> /dev/null) in
    *' '????-??-??' '*.?????????' '*' '????-??-??' '*.?????????' '*) a="$a stat=words" ;;
  esac ;;
esac
can find . -maxdepth 0 -readable -printf x && a="$a find=prints"
[ "$(find . -maxdepth 0 -exec echo {} + 2> /dev/null)" = . ] && a="$a find=lists"
[ "$(printf 'a\0b\0' | xargs -0 -n 2 echo 2> /dev/null)" = 'a b' ] && a="$a xargs=yes"
[ "$(printf abc | head -c 2 2> /dev/null)" = ab ] && a="$a head=yes"
case $(printf abc | sha256sum 2> /dev/null) in ba7816bf8f01cfea*) a="$a sha256sum=yes" ;; esac
[ -r /proc/self/fd/0 ] && a="$a proc=yes"
command -v rdiff > /dev/null 2>&1 && a="$a rdiff=yes"
# The clock comes last, so that little time passes between it and our reading of it.
t=$(date +%s%N)
case $t in *[!0-9]*) t=$(date +%s)500000000 ;; esac
echo "probe$a clock=$t"
