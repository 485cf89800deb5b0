format='%d %i %s %.9Y %.9Z'
# join WORD...: a line of whats as we want it, into j.
join() { j="$*"; }
