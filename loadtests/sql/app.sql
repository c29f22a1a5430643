-- The generated region's devices are of an app that settings can name.
update ent_notify.device set app = %(app)s
