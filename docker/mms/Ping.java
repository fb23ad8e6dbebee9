import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** /ping says what the supervisor says: multi-model-server's own is 200 whatever its workers do. */
@Endpoint(urlPattern = "ping", endpointType = EndpointTypes.INFERENCE, description = "readiness")
public class Ping extends ModelServerEndpoint {
    private static final Path READY = Path.of(System.getProperty("bintally.ready"));

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        response.setStatus(Files.exists(READY) ? 200 : 503);
    }
}
