"""Who is guarded: environments, policies, database access, stores, secrets. The ground floor."""
