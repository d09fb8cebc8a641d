// Fastify with its plugins for rate limits and Basic Auth, and schemas both ways. usage: node fastify_whole.cjs PORT
const fastify = require('fastify')({ logger: false })

const order = {
  type: 'object',
  required: ['order_id', 'customer_id', 'currency', 'total', 'express', 'lines'],
  properties: {
    order_id: { type: 'string', minLength: 1, maxLength: 40 },
    customer_id: { type: 'integer', minimum: 1 },
    currency: { type: 'string', minLength: 3, maxLength: 3 },
    total: { type: 'number', minimum: 0 },
    express: { type: 'boolean' },
    reference: { type: 'string', maxLength: 80 },
    lines: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        required: ['sku', 'count'],
        properties: { sku: { type: 'string', minLength: 1, maxLength: 40 }, count: { type: 'integer', minimum: 1 } }
      }
    }
  }
}
const accepted = {
  type: 'object',
  properties: {
    order_id: { type: 'string' },
    customer_id: { type: 'integer' },
    status: { type: 'string' },
    total: { type: 'number' },
    line_count: { type: 'integer' },
    express: { type: 'boolean' },
    message: { type: 'string' }
  }
}

async function start () {
  await fastify.register(require('@fastify/rate-limit'), { max: 1e9, timeWindow: '1 minute' })
  await fastify.register(require('@fastify/basic-auth'), {
    validate: async (username, password) => {
      if (username !== 'bench' || password !== 'bench-password') throw new Error('wrong credentials')
    },
    authenticate: true
  })
  fastify.post(
    '/orders',
    { onRequest: fastify.basicAuth, schema: { body: order, response: { 200: accepted } } },
    async request => ({
      order_id: request.body.order_id,
      customer_id: request.body.customer_id,
      status: 'accepted',
      total: request.body.total,
      line_count: request.body.lines.length,
      express: request.body.express,
      message: 'Your order is accepted and goes to the warehouse today.'
    })
  )
  await fastify.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
}

start()
