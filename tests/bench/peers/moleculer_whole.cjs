// moleculer-web with authentication, its rate limit and the validator of parameters. usage: node moleculer_whole.cjs PORT
const { ServiceBroker, Errors } = require('moleculer')
const ApiService = require('moleculer-web')

const broker = new ServiceBroker({ logger: false, metrics: false, tracing: false })

broker.createService({
  name: 'orders',
  actions: {
    place: {
      params: {
        order_id: { type: 'string', min: 1, max: 40 },
        customer_id: { type: 'number', integer: true, min: 1 },
        currency: { type: 'string', length: 3 },
        total: { type: 'number', min: 0 },
        express: 'boolean',
        reference: { type: 'string', max: 80, optional: true },
        lines: {
          type: 'array',
          min: 1,
          items: { type: 'object', props: { sku: { type: 'string', min: 1, max: 40 }, count: { type: 'number', min: 1 } } }
        }
      },
      handler (call) {
        return {
          order_id: call.params.order_id,
          customer_id: call.params.customer_id,
          status: 'accepted',
          total: call.params.total,
          line_count: call.params.lines.length,
          express: call.params.express,
          message: 'Your order is accepted and goes to the warehouse today.'
        }
      }
    }
  }
})

broker.createService({
  mixins: [ApiService],
  settings: {
    port: Number(process.argv[2]),
    ip: '127.0.0.1',
    rateLimit: { window: 60 * 1000, limit: 1e9, headers: true },
    routes: [{
      path: '/',
      authentication: true,
      bodyParsers: { json: true },
      aliases: { 'POST orders': 'orders.place' }
    }]
  },
  methods: {
    authenticate (call, route, request) {
      const header = request.headers.authorization || ''
      const text = Buffer.from(header.slice(6), 'base64').toString()
      if (header.slice(0, 6) !== 'Basic ' || text !== 'bench:bench-password') {
        throw new Errors.MoleculerClientError('wrong credentials', 401)
      }
      return { name: 'bench' }
    }
  }
})

broker.start()
