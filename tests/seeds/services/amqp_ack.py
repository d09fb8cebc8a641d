from gatewright import Service

class MyService(Service):

    def handle(self):
        if 'foo' in self.request.payload:
            self.request.amqp.ack()
        else:
            self.request.amqp.reject()
