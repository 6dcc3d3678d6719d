"""THE ENFORCEMENT POINT: routes, leases, the credential swap and the cut."""
