#!/usr/bin/env bash
# Copy this folder to /opt/$service, install its requirements there, and start the service.
set -euo pipefail
here=$$(cd "$$(dirname "$$0")" && pwd)
mkdir -p /opt/$service
cp -r "$$here"/. /opt/$service/
cd /opt/$service
rm -rf venv
python3 -m venv venv
requirements=requirements.txt
[ "$$(uname -m)" != armv7l ] || requirements=requirements-tflite-runtime.txt
venv/bin/pip install -q -r "$$requirements"
install -m 644 $service.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now $service
echo "Put images into /var/lib/$service/inbox. See results with: journalctl -fu $service"
