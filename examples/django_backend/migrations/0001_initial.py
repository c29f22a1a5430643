from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Absence",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("pupil", models.CharField(max_length=64, verbose_name="élève")),
                ("starts_at", models.DateTimeField(verbose_name="début")),
                ("notification", models.BigIntegerField(editable=False, null=True)),
            ],
            options={"verbose_name": "absence", "ordering": ("-starts_at",)},
        )
    ]
