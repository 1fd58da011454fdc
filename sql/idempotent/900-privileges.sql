-- Last of all files: nothing is granted to public. cad.grant_to gives rights to roles.

revoke all on all routines in schema cad from public;
revoke all on all tables in schema cad from public;
revoke all on type cad.batch_hit from public;
revoke all on type cad.hit from public;
revoke all on type cad._analysis from public;
revoke all on type cad._query from public;
