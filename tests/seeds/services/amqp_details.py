from gatewright import Service

class MyService(Service):

    def handle(self):
        self.logger.info(self.request.amqp.msg)
