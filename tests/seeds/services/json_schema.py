# -*- coding: utf-8 -*-

from __future__ import absolute_import, division, print_function, unicode_literals

# Gatewright
from gatewright import Service

class MyService(Service):

    # Require JSON Schema validation
    schema = 'myschema.json'

    def handle(self):

        # If we are here, it means that the input schema validation succeeded
        self.logger.info("My request: %s", self.request.payload)
