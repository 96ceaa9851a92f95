from hypothesis import HealthCheck, settings

# A configuration has a hundred fields and a busy machine is slow: time says nothing here.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
