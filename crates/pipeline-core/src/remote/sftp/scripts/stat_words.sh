format='%d %i %s %Y %Z %y %z'
# The times come in whole seconds, and in words such as "2026-11-22 02:00:09.804175812 +0000", which have the rest.
join() { j="$1 $2 $3 $4.${7#*.} $5.${10#*.}"; }
